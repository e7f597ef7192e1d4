package segment

import (
	"errors"
	"sync/atomic"

	"github.com/persisting/persisting/vfs"
)

// Segment is a file that is, or was, written to. One goroutine at a time uses it, but for Sync, which may run beside everything
// else except what replaces or closes the file.
type Segment struct {
	name     Name
	head     Header
	preamble []byte
	file     vfs.File // nil when it is not written to
	next     int64
	end      int64 // bytes in use
	acked    int64 // of these, acknowledged
	chain    uint32
	closed   bool
	written  atomic.Int64 // bytes that the kernel has
	synced   atomic.Int64 // bytes that the disk has
}

// Making says how a segment is made.
type Making struct {
	// Zeros has all of the file written once. Space that was only reserved becomes part of the file when it is first written, and
	// every sync would have to bring that to the disk as well.
	Zeros bool
	// Fill adds records before the file has a name. Nil adds none.
	Fill func(*Segment) error
	// Settle runs when the file is on disk, before it takes the place of another of its name. Nil does nothing.
	Settle func() error
}

// Create makes the segment that h and a preamble begin. The file gets its name when all of it is on disk, so that a crash leaves
// no half of it: before that there is a file that List calls unfinished, or the one that had the name before.
func Create(d Dir, h Header, preamble []byte, m Making) (*Segment, error) {
	s := &Segment{name: d.Name(h.Sequence), head: h, preamble: preamble, next: h.Base}
	temp := s.name.Path + TempSuffix
	var err error
	if s.file, err = d.FS.Create(temp); err != nil {
		return nil, err
	}
	if err = s.write(m); err == nil {
		err = d.FS.Rename(temp, s.name.Path)
	}
	if err != nil {
		err = errors.Join(err, s.Drop())
		_ = d.FS.Remove(temp) // the next recovery removes it, too
		return nil, err
	}
	// The name has to be on the disk before the first entry is: an acknowledged entry in a file
	// without a name would be gone.
	if err := d.FS.SyncDir(d.Path); err != nil {
		return nil, errors.Join(err, s.Drop())
	}
	s.acked = s.end
	s.written.Store(s.end)
	s.synced.Store(s.end)
	return s, nil
}

// write brings the unnamed file to the disk.
func (s *Segment) write(m Making) error {
	// The space is reserved now, so that a full disk is told of by the one that begins a segment,
	// and a sync of an entry brings no new size to the disk with it.
	if err := s.file.Preallocate(s.head.Capacity); err != nil {
		return err
	}
	if m.Zeros {
		if err := s.writeZeros(s.head.Capacity); err != nil {
			return err
		}
	}
	if err := s.begin(); err != nil {
		return err
	}
	if m.Fill != nil {
		if err := m.Fill(s); err != nil {
			return err
		}
	}
	if err := s.file.Sync(); err != nil || m.Settle == nil {
		return err
	}
	return m.Settle()
}

func (s *Segment) writeZeros(size int64) error {
	const step = 1 << 20
	zeros := make([]byte, min(step, size))
	for at := int64(0); at < size; at += step {
		if err := s.file.WriteAt([][]byte{zeros[:min(step, size-at)]}, at); err != nil {
			return err
		}
	}
	return nil
}

// begin writes header and preamble.
func (s *Segment) begin() error {
	b := make([]byte, HeaderBytes+Span(int64(len(s.preamble))))
	s.chain = s.head.encode(b)
	copy(b[HeaderBytes+RecordBytes:], s.preamble)
	r := record{kind: kindPreamble, length: int64(len(s.preamble)), first: s.head.Base, body: bodySum(s.preamble)}
	r.encode(b[HeaderBytes:], HeaderBytes, s.head.Salt)
	s.chain = extend(s.chain, b[HeaderBytes:])
	s.end = int64(len(b))
	return s.file.WriteAt([][]byte{b}, 0)
}

// Capacity returns the size of a segment with that preamble whose first entry has that span: least bytes, or what they need.
func Capacity(least int64, preamble []byte, entry int64) int64 {
	need := HeaderBytes + 2*Span(int64(len(preamble))) + entry
	return (max(least, need) + alignment - 1) &^ (alignment - 1)
}

// Path returns the path of the file.
func (s *Segment) Path() string { return s.name.Path }

// Next returns the row after the last one written.
func (s *Segment) Next() int64 { return s.next }

// End returns the bytes in use.
func (s *Segment) End() int64 { return s.end }

// Preamble returns what describes the entries; it may not be written to.
func (s *Segment) Preamble() []byte { return s.preamble }

// Closed reports whether the segment has an end mark.
func (s *Segment) Closed() bool { return s.closed }

// Open reports whether the file is open, which it is from Create to Finish.
func (s *Segment) Open() bool { return s.file != nil }

// Room reports whether entries of that span fit, with an end mark behind them.
func (s *Segment) Room(entries int64) bool {
	// The end mark must fit behind: a segment that cannot be ended could not be followed by
	// another.
	return s.end+entries+Span(int64(len(s.preamble))) <= s.head.Capacity
}

// Seal returns end and chain as they will be with the mark that says that the next segment exists. The header of that one
// repeats them: so a segment that is not the one before it is noticed.
func (s *Segment) Seal() (end int64, chain uint32) {
	m := s.marker(Sealed)
	return s.end + int64(len(m)), extend(s.chain, m)
}

func (s *Segment) marker(kind Kind) []byte {
	return marker(kind, s.end, s.next, s.head.Salt, s.preamble)
}

// Mark writes an end mark.
func (s *Segment) Mark(kind Kind) error {
	m := s.marker(kind)
	if err := s.file.WriteAt([][]byte{m}, s.end); err != nil {
		return err
	}
	s.end += int64(len(m))
	s.chain = extend(s.chain, m)
	s.closed = true
	return nil
}

// Finish ends the segment, all of which is on disk, with a mark and gives the space behind it back. When the mark is on disk it
// does not matter whether the cut is.
func (s *Segment) Finish(fs vfs.FS, kind Kind) error {
	if s.file == nil {
		var err error
		if s.file, err = fs.OpenWrite(s.name.Path); err != nil {
			return err
		}
	}
	err := s.Mark(kind)
	if err == nil {
		err = s.file.Datasync()
	}
	if err == nil {
		err = s.file.Truncate(s.end)
	}
	if kind == Sealed {
		s.preamble = nil // no mark follows that repeats it
	}
	return errors.Join(err, s.Drop())
}

// Drop closes the file.
func (s *Segment) Drop() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Sync brings what was written to the disk, and returns false if it was there already.
func (s *Segment) Sync() (bool, error) {
	// Read before the sync: what is written beside it may not be on the disk when it returns.
	end := s.written.Load()
	if s.synced.Load() >= end {
		return false, nil
	}
	if err := s.file.Datasync(); err != nil {
		return false, err
	}
	s.synced.Store(end)
	return true, nil
}

// Rollback takes back what was written but not acknowledged, as well as that can be done after a failure. The file keeps its
// size, by which a file that something else cut is noticed.
func (s *Segment) Rollback() {
	// A torn write would be found by its sum anyway. But a record of it that is whole would be
	// replayed, and its caller was told that it failed.
	if s.file != nil && s.file.Truncate(s.acked) == nil {
		_ = s.file.Truncate(s.head.Capacity)
	}
}

// Acknowledge puts what was written so far out of the reach of Rollback.
func (s *Segment) Acknowledge() { s.acked = s.end }
