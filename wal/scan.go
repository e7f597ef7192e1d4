package wal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"

	"github.com/persisting/persisting/vfs"
)

const (
	chunkBytes  = 1 << 20 // read at once
	sectorBytes = 4 << 10 // read at once where a chunk cannot be read
)

// window is the part of a file that is in memory.
type window struct {
	file    vfs.File
	size    int64
	keep    bool  // bytes given out are never overwritten
	patient bool  // sectors that cannot be read count as damaged bytes
	step    int64 // bytes read at once; 0: chunkBytes
	buf     []byte
	off     int64
}

// at returns the n bytes from off on, which must lie within the file. Its first byte is 8-byte aligned when off is.
func (w *window) at(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		if err := w.load(off, n); err != nil {
			return nil, err
		}
	}
	from := off - w.off
	return w.buf[from : from+n : from+n], nil
}

// head returns the first bytes of the file, as many of a segment header as there are.
func (w *window) head() ([]byte, error) {
	b := make([]byte, min(w.size, headerBytes))
	err := readFull(w.file, b, 0)
	if err != nil && w.patient {
		return nil, nil
	}
	return b, err
}

// from returns what is in memory from off on, at least the head of a record; off+recordBytes must lie within the file.
func (w *window) from(off int64) ([]byte, error) {
	if end := w.off + int64(len(w.buf)); off >= w.off && off+recordBytes <= end {
		return w.buf[off-w.off:], nil
	}
	return w.at(off, min(w.size-off, chunkBytes))
}

// skip returns the first place from off on that is not in a hole of the file, as far as that is known, or its end.
func (w *window) skip(off int64) int64 {
	if off >= w.off && off < w.off+int64(len(w.buf)) {
		return off
	}
	if f, ok := w.file.(vfs.Sparse); ok {
		off = max(off, f.DataFrom(off)&^(alignment-1))
	}
	return min(off, w.size)
}

func (w *window) load(off, n int64) error {
	step := w.step
	if step == 0 {
		step = chunkBytes
	}
	n = min(max(n, step), w.size-off)
	if w.keep || int64(cap(w.buf)) < n {
		w.buf = make([]byte, n, (n+63)&^63) // 64 bytes and more are aligned
	}
	w.buf, w.off = w.buf[:n], off
	err := readFull(w.file, w.buf, off)
	if err == nil || !w.patient {
		return err
	}
	for b := w.buf; len(b) > 0; {
		sector := b[:min(sectorBytes-off%sectorBytes, int64(len(b)))]
		if readFull(w.file, sector, off) != nil {
			for i := range sector {
				sector[i] = 0xff
			}
		}
		off += int64(len(sector))
		b = b[len(sector):]
	}
	return nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// extent is a run of sound entry records, as bytes of their file.
type extent struct{ from, to int64 }

// scan reads the records of one segment in order.
type scan struct {
	win      window
	path     string
	head     header
	maxBytes int64

	first    uint32 // checksum of the header
	last     int64  // the record before pos; 0 for none
	pos      int64  // the next record
	chain    uint32 // over all records before pos
	offset   int64  // the row that must come next
	preamble []byte
	ready    bool // the preamble was read
	closed   bool
	sealed   bool
	entries  int64
	lost     bool // something was skipped: chain is void, offsets may jump
	kept     []extent
	sum      [4]byte // of the head of the record before pos
}

func (s *scan) fault(pos int64, err error) error {
	return &SegmentError{Path: s.path, Segment: s.head.sequence, Offset: pos, Err: err}
}

// next returns the next entry. At the end of the records, which is where the file ends or only zeros are in the place of a
// record, it returns io.EOF. Anything else that stands there is a *SegmentError, and s stays before it.
func (s *scan) next() (Entry, error) {
	for {
		r, payload, err := s.read(s.pos)
		if err != nil {
			return Entry{}, err
		}
		at := s.pos
		if err := s.accept(r, payload); err != nil {
			return Entry{}, err
		}
		if r.kind != kindEntry {
			continue
		}
		if n := len(s.kept); n > 0 && s.kept[n-1].to == at {
			s.kept[n-1].to = s.pos
		} else {
			s.kept = append(s.kept, extent{at, s.pos})
		}
		return Entry{First: r.first, Rows: r.rows, Preamble: s.preamble, Body: payload}, nil
	}
}

// read returns the record at pos, verified by itself.
func (s *scan) read(pos int64) (record, []byte, error) {
	left := s.win.size - pos
	if left <= 0 || s.sealed {
		return record{}, nil, io.EOF
	}
	if left < recordBytes {
		return record{}, nil, s.fault(pos, corrupt("the file ends within a record"))
	}
	head, err := s.win.at(pos, recordBytes)
	if err != nil {
		return record{}, nil, s.fault(pos, err)
	}
	r, ok := decodeRecord(head, pos, s.head.salt)
	if !ok {
		if bytes.Equal(head, zeros[:recordBytes]) {
			return record{}, nil, io.EOF
		}
		return record{}, nil, s.fault(pos, corrupt("checksum of a record head"))
	}
	left -= recordBytes
	if r.length > left || padding(r.length) > left-r.length {
		return record{}, nil, s.fault(pos, corrupt("a record of %d bytes reaches beyond the end of the file", r.length))
	}
	if r.length > s.maxBytes {
		return record{}, nil, s.fault(pos, ErrTooLarge)
	}
	payload, err := s.win.at(pos+recordBytes, r.length+padding(r.length))
	if err != nil {
		return record{}, nil, s.fault(pos, err)
	}
	if crc32.Checksum(payload, castagnoli) != r.body {
		return record{}, nil, s.fault(pos, corrupt("checksum of a record's payload"))
	}
	return r, payload[:r.length:r.length], nil
}

// grew says that there is a sound record at pos by now.
func (s *scan) grew() bool {
	s.win.buf = nil
	_, _, err := s.read(s.pos)
	return err == nil
}

// accept moves behind the record at s.pos when it is one that may stand there.
func (s *scan) accept(r record, payload []byte) error {
	refuse := func(format string, args ...any) error { return s.fault(s.pos, corrupt(format, args...)) }
	switch {
	case s.closed && r.kind != kindSealed:
		return io.EOF // left over from before the recovery that ended the segment here
	case (r.kind == kindPreamble) == s.ready:
		return refuse("record of kind %d out of place", r.kind)
	case r.kind != kindPreamble && (r.first < s.offset || r.first > s.offset && !s.lost):
		return refuse("a record begins at row %d in the place of row %d", r.first, s.offset)
	}
	switch r.kind {
	case kindPreamble:
		s.preamble, s.ready = bytes.Clone(payload), true
	case kindEntry:
		s.entries++
	case kindClosed, kindSealed:
		if !bytes.Equal(s.preamble, payload) {
			return refuse("the end mark repeats another preamble")
		}
		s.closed, s.sealed = true, r.kind == kindSealed
	}
	if r.kind != kindPreamble {
		s.offset = r.first + r.rows
	}
	order.PutUint32(s.sum[:], r.sum)
	s.chain = extend(s.chain, s.sum[:])
	s.last = s.pos
	s.pos += span(r.length)
	return nil
}

// seek moves to the next readable entry or end mark behind the damage at s.pos, or returns false when there is none.
func (s *scan) seek() (bool, error) {
	s.lost = true
	if s.sealed {
		return false, nil
	}
	if !s.ready {
		if err := s.borrow(); err != nil || !s.ready {
			return false, err
		}
	}
	for at := s.pos + alignment; ; at += alignment {
		var err error
		if at, _, err = s.find(&s.win, at); err != nil || at < 0 {
			return false, err
		}
		r, _, err := s.read(at)
		switch {
		case err == nil && r.kind != kindPreamble && r.first >= s.offset && (r.kind == kindSealed || !s.closed):
			s.pos = at
			return true, nil
		case err != nil && !errors.Is(err, ErrCorrupt):
			return false, err
		}
	}
}

// borrow takes the preamble from an end mark.
func (s *scan) borrow() error {
	for at := s.pos + alignment; ; at += alignment {
		var r record
		var err error
		if at, r, err = s.find(&s.win, at); err != nil || at < 0 {
			return err
		}
		if r.kind == kindEntry {
			continue
		}
		if _, payload, err := s.read(at); err == nil {
			s.preamble, s.ready = bytes.Clone(payload), true
			return nil
		}
	}
}

// find returns the first place from at on where the head of a record of this segment stands, or -1.
func (s *scan) find(w *window, at int64) (int64, record, error) {
	return findHead(w, at, func(b []byte, pos int64) (record, bool) { return decodeRecord(b, pos, s.head.salt) })
}

func findHead(w *window, at int64, decode func([]byte, int64) (record, bool)) (int64, record, error) {
	for at = w.skip(at); w.size-at >= recordBytes; at = w.skip(at) {
		b, err := w.from(at)
		if err != nil {
			return 0, record{}, err
		}
		for ; len(b) >= recordBytes; b, at = b[alignment:], at+alignment {
			if r, ok := decode(b, at); ok {
				return at, r, nil
			}
		}
	}
	return -1, record{}, nil
}

// tail looks at everything from s.pos on. It returns the end of the last byte that is not zero, at least s.pos, and the
// highest promise that a record there makes: when it lies above s.pos, a crash cannot explain what stands at s.pos.
func (s *scan) tail() (used, promised int64, err error) {
	w := window{file: s.win.file, size: s.win.size, patient: s.win.patient}
	used = s.pos
	for at := w.skip(s.pos); at < w.size; at = w.skip(at) {
		b, err := w.at(at, min(w.size-at, int64(len(zeros))))
		if err != nil {
			return 0, 0, s.fault(at, err)
		}
		at += int64(len(b))
		if !bytes.Equal(b, zeros[:len(b)]) {
			used = at - int64(len(b)-len(bytes.TrimRight(b, "\x00")))
		}
	}
	for at := s.pos; at < used; at += alignment {
		var r record
		if at, r, err = s.find(&w, at); err != nil {
			return 0, 0, s.fault(s.pos, err)
		}
		if at < 0 {
			break
		}
		promised = max(promised, r.promise)
	}
	return used, promised, nil
}
