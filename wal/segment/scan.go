package segment

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"

	"github.com/persisting/persisting/vfs"
)

// Entry is one appended unit as it is read back.
type Entry struct {
	First int64 // offset of its first row
	Rows  int64
	// Preamble is the preamble of the segment: one slice for all its entries. Neither it nor Body may be written to.
	Preamble []byte
	// Body is 8-byte aligned. It stays as it is if the window keeps what it reads, and else until the next entry is read.
	Body []byte
}

// Extent is a run of sound entries, as bytes of their file.
type Extent struct{ From, To int64 }

// Scan reads the records of one segment in order. Its fields say what was read so far.
type Scan struct {
	Pos      int64  // the next record
	Chain    uint32 // over all records before Pos
	Offset   int64  // the row that must come next
	Preamble []byte
	Ready    bool // the preamble was read
	Closed   bool
	Sealed   bool
	Entries  int64
	Lost     bool // something was skipped: Chain is void, offsets may jump
	Kept     []Extent

	win      Window
	name     Name
	head     Header
	maxBytes int64
	first    uint32  // checksum of the header
	last     int64   // the record before Pos; 0 for none
	sum      [4]byte // of the head of the record before Pos
}

// NewScan returns a scan of the segment in w, which begins with h. The checksum of h is sum; a payload of more than maxBytes is
// ErrTooLarge.
func NewScan(w Window, name Name, h Header, sum uint32, maxBytes int64) *Scan {
	return &Scan{
		win: w, name: name, head: h, maxBytes: maxBytes, first: sum,
		Pos: HeaderBytes, Chain: sum, Offset: h.Base,
	}
}

// Name returns which segment it is.
func (s *Scan) Name() Name { return s.name }

// Resume has s go on in another window of the file, which may have grown; Release ends that.
func (s *Scan) Resume(w Window) { s.win = w }

// Stands says that a file is the segment that was read, and has all that was read of it.
func (s *Scan) Stands(file vfs.File) (bool, error) {
	b := make([]byte, HeaderBytes)
	if err := s.Look(file, b, 0); err != nil {
		return false, err
	}
	// Another header is another segment under the same name, as after a salvage.
	if _, sum, err := decodeHeader(b); err != nil || sum != s.first || s.last == 0 {
		return err == nil && sum == s.first, nil
	}
	b = b[:RecordBytes]
	if err := s.Look(file, b, s.last); err != nil {
		return false, err
	}
	r, ok := decodeRecord(b, s.last, s.head.Salt)
	return ok && r.sum == order.Uint32(s.sum[:]), nil
}

// Look reads what a file has at a place; behind its end are zeros.
func (s *Scan) Look(file vfs.File, b []byte, at int64) error {
	// Short where the file ends: what was not preallocated, or was cut by its end mark.
	n, err := file.ReadAt(b, at)
	clear(b[n:])
	if err != nil && !errors.Is(err, io.EOF) {
		return s.Fault(at, err)
	}
	return nil
}

// Release lets go of the file and of what was read of it.
func (s *Scan) Release() { s.win = Window{} }

// Segment returns the segment as far as it was read, not open.
func (s *Scan) Segment() *Segment {
	return &Segment{
		name: s.name, head: s.head, preamble: s.Preamble, next: s.Offset, end: s.Pos, chain: s.Chain, closed: s.Closed,
	}
}

// Replace makes s the end of a scan of made, which holds what s read and ends with that mark.
func (s *Scan) Replace(made *Segment, kind Kind) {
	s.head, s.Pos, s.Chain = made.head, made.end, made.chain
	s.Closed, s.Sealed = true, kind == Sealed
}

// Fault returns err with its place in the segment.
func (s *Scan) Fault(pos int64, err error) error { return s.name.Fault(pos, err) }

// Next returns the next entry. At the end of the records, which is where the file ends or only zeros are in the place of a
// record, it returns io.EOF. Anything else that stands there is an *Error, and s stays before it.
func (s *Scan) Next() (Entry, error) {
	for {
		r, payload, err := s.read(s.Pos)
		if err != nil {
			return Entry{}, err
		}
		at := s.Pos
		if err := s.accept(r, payload); err != nil {
			return Entry{}, err
		}
		if r.kind != kindEntry {
			continue
		}
		// Runs and not entries, as a salvage copies what lies together in one go, and a sound log
		// is one run.
		if n := len(s.Kept); n > 0 && s.Kept[n-1].To == at {
			s.Kept[n-1].To = s.Pos
		} else {
			s.Kept = append(s.Kept, Extent{at, s.Pos})
		}
		return Entry{First: r.first, Rows: r.rows, Preamble: s.Preamble, Body: payload}, nil
	}
}

// read returns the record at pos, verified by itself.
func (s *Scan) read(pos int64) (record, []byte, error) {
	left := s.win.Size - pos
	// A file is cut behind its end mark, and what a file system has left there is none of its
	// records.
	if left <= 0 || s.Sealed {
		return record{}, nil, io.EOF
	}
	if left < RecordBytes {
		return record{}, nil, s.Fault(pos, Corrupt("the file ends within a record"))
	}
	head, err := s.win.At(pos, RecordBytes)
	if err != nil {
		return record{}, nil, s.Fault(pos, err)
	}
	r, ok := decodeRecord(head, pos, s.head.Salt)
	if !ok {
		// The file is all zeros when it is made, so the end of the records looks like this. Whether
		// it is where they ended, or a hole, is for the one to judge who looks at all that comes
		// behind: see Tail.
		if bytes.Equal(head, zeros[:RecordBytes]) {
			return record{}, nil, io.EOF
		}
		return record{}, nil, s.Fault(pos, Corrupt("checksum of a record head"))
	}
	left -= RecordBytes
	if r.length > left || padding(r.length) > left-r.length {
		return record{}, nil, s.Fault(pos, Corrupt("a record of %d bytes reaches beyond the end of the file", r.length))
	}
	// After the comparison with the file, so that a record is said to be too large only where all
	// of it is there.
	if r.length > s.maxBytes {
		return record{}, nil, s.Fault(pos, ErrTooLarge)
	}
	payload, err := s.win.At(pos+RecordBytes, r.length+padding(r.length))
	if err != nil {
		return record{}, nil, s.Fault(pos, err)
	}
	// The padding is in the sum, so that no byte of the file is in none.
	if crc32.Checksum(payload, castagnoli) != r.body {
		return record{}, nil, s.Fault(pos, Corrupt("checksum of a record's payload"))
	}
	return r, payload[:r.length:r.length], nil
}

// Grew says that there is a sound record at s.Pos by now.
func (s *Scan) Grew() bool {
	s.win.buf = nil
	_, _, err := s.read(s.Pos)
	return err == nil
}

// accept moves behind the record at s.Pos when it is one that may stand there.
func (s *Scan) accept(r record, payload []byte) error {
	refuse := func(format string, args ...any) error { return s.Fault(s.Pos, Corrupt(format, args...)) }
	switch {
	case s.Closed && r.kind != uint32(Sealed):
		return io.EOF // left over from before the recovery that ended the segment here
	case (r.kind == kindPreamble) == s.Ready:
		return refuse("record of kind %d out of place", r.kind)
	case r.kind != kindPreamble && (r.first < s.Offset || r.first > s.Offset && !s.Lost):
		return refuse("a record begins at row %d in the place of row %d", r.first, s.Offset)
	}
	switch r.kind {
	case kindPreamble:
		s.Preamble, s.Ready = bytes.Clone(payload), true
	case kindEntry:
		s.Entries++
	default: // an end mark
		if !bytes.Equal(s.Preamble, payload) {
			return refuse("the end mark repeats another preamble")
		}
		s.Closed, s.Sealed = true, r.kind == uint32(Sealed)
	}
	if r.kind != kindPreamble {
		s.Offset = r.first + r.rows
	}
	// Kept, since a follower asks later whether the record is still the one that it has read.
	order.PutUint32(s.sum[:], r.sum)
	s.Chain = extend(s.Chain, s.sum[:])
	s.last = s.Pos
	s.Pos += Span(r.length)
	return nil
}

// Seek moves to the next readable entry or end mark behind the damage at s.Pos, or returns false when there is none.
func (s *Scan) Seek() (bool, error) {
	// From here on rows may be missing, so offsets that jump are no further damage.
	s.Lost = true
	// Nothing was ever written behind this mark.
	if s.Sealed {
		return false, nil
	}
	if !s.Ready {
		if err := s.borrow(); err != nil || !s.Ready {
			return false, err
		}
	}
	for at := s.Pos + alignment; ; at += alignment {
		var err error
		if at, _, err = s.find(&s.win, at); err != nil || at < 0 {
			return false, err
		}
		r, _, err := s.read(at)
		switch {
		case err == nil && r.kind != kindPreamble && r.first >= s.Offset && (r.kind == uint32(Sealed) || !s.Closed):
			s.Pos = at
			return true, nil
		case err != nil && !errors.Is(err, ErrCorrupt):
			return false, err
		}
	}
}

// borrow takes the preamble from an end mark.
func (s *Scan) borrow() error {
	for at := s.Pos + alignment; ; at += alignment {
		var r record
		var err error
		if at, r, err = s.find(&s.win, at); err != nil || at < 0 {
			return err
		}
		// An entry says nothing of how to read it.
		if r.kind == kindEntry {
			continue
		}
		if _, payload, err := s.read(at); err == nil {
			s.Preamble, s.Ready = bytes.Clone(payload), true
			return nil
		}
	}
}

// find returns the first place from at on where the head of a record of this segment stands, or -1.
func (s *Scan) find(w *Window, at int64) (int64, record, error) {
	return w.findHead(at, func(b []byte, pos int64) (record, bool) { return decodeRecord(b, pos, s.head.Salt) })
}

// Tail looks at everything from s.Pos on. It returns the end of the last byte that is not zero, at least s.Pos, and the highest
// promise that a record there makes: when it lies above s.Pos, a crash cannot explain what stands at s.Pos.
func (s *Scan) Tail() (used, promised int64, err error) {
	// A window of its own, so that what the scan has in memory, and has given out, stays.
	w := Window{File: s.win.File, Size: s.win.Size, Patient: s.win.Patient}
	if used, err = w.used(s.Pos); err != nil {
		return 0, 0, s.Fault(used, err)
	}
	for at := s.Pos; at < used; at += alignment {
		var r record
		if at, r, err = s.find(&w, at); err != nil {
			return 0, 0, s.Fault(s.Pos, err)
		}
		if at < 0 {
			break
		}
		promised = max(promised, r.promise)
	}
	return used, promised, nil
}
