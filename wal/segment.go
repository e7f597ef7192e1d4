package wal

import (
	"errors"
	"sync/atomic"

	"github.com/persisting/persisting/vfs"
)

// segment is a file of the log. Its fields belong to who has the turn, but for the atomic ones.
type segment struct {
	path     string
	head     header
	preamble []byte
	file     vfs.File // nil when it is not written to
	next     int64
	end      int64 // bytes in use
	acked    int64 // of these, acknowledged
	chain    uint32
	closed   bool
	sealed   bool
	written  atomic.Int64 // bytes that the kernel has
	synced   atomic.Int64 // bytes that the disk has
}

// makeSegment makes a segment of one preamble and what fill adds to it. The file gets its name when it is on disk, after settle,
// so that a crash leaves no half of it. Both functions may be nil.
func makeSegment(o Options, h header, preamble []byte, fill func(*segment) error, settle func() error) (*segment, error) {
	s := &segment{path: segmentPath(o.Dir, h.sequence), head: h, preamble: preamble, next: h.base}
	temp := s.path + tempSuffix
	var err error
	if s.file, err = o.FS.Create(temp); err != nil {
		return nil, err
	}
	err = s.file.Preallocate(h.capacity)
	if err == nil && o.SyncInterval == 0 && h.capacity <= o.SegmentBytes {
		err = s.writeZeros(h.capacity)
	}
	if err == nil {
		err = s.begin()
	}
	if err == nil && fill != nil {
		err = fill(s)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil && settle != nil {
		err = settle()
	}
	if err == nil {
		err = o.FS.Rename(temp, s.path)
	}
	if err != nil {
		err = errors.Join(err, s.drop())
		_ = o.FS.Remove(temp) // the next Open removes it, too
		return nil, err
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return nil, errors.Join(err, s.drop())
	}
	s.acked = s.end
	s.written.Store(s.end)
	s.synced.Store(s.end)
	return s, nil
}

// begin writes header and preamble.
func (s *segment) begin() error {
	b := make([]byte, headerBytes+span(int64(len(s.preamble))))
	s.chain = s.head.encode(b)
	copy(b[headerBytes+recordBytes:], s.preamble)
	r := record{kind: kindPreamble, length: int64(len(s.preamble)), first: s.head.base, body: bodySum(s.preamble)}
	r.encode(b[headerBytes:], headerBytes, s.head.salt)
	s.chain = extend(s.chain, b[headerBytes:])
	s.end = int64(len(b))
	return s.file.WriteAt([][]byte{b}, 0)
}

// marker returns the end mark that comes next.
func (s *segment) marker(kind uint32) []byte {
	return marker(kind, s.end, s.next, s.head.salt, s.preamble)
}

// mark writes an end mark.
func (s *segment) mark(kind uint32) error {
	m := s.marker(kind)
	if err := s.file.WriteAt([][]byte{m}, s.end); err != nil {
		return err
	}
	s.end += int64(len(m))
	s.chain = extend(s.chain, m)
	s.closed, s.sealed = true, kind == kindSealed
	return nil
}

// finish ends the segment, all of which is on disk, with a mark and gives the space behind it back. When the mark is on disk it
// does not matter whether the cut is.
func (s *segment) finish(fs vfs.FS, kind uint32) error {
	if s.file == nil {
		var err error
		if s.file, err = fs.OpenWrite(s.path); err != nil {
			return err
		}
	}
	err := s.mark(kind)
	if err == nil {
		err = s.file.Datasync()
	}
	if err == nil {
		err = s.file.Truncate(s.end)
	}
	return errors.Join(err, s.drop())
}

// drop closes the file.
func (s *segment) drop() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// rollback takes back what was written but not acknowledged, as well as that can be done after a failure. The file keeps its
// size, by which a file that something else cut is noticed.
func (s *segment) rollback() {
	if s.file != nil && s.file.Truncate(s.acked) == nil {
		_ = s.file.Truncate(s.head.capacity)
	}
}

// room reports whether an entry of that span fits, with an end mark behind it.
func (s *segment) room(entry int64) bool {
	return s.end+entry+span(int64(len(s.preamble))) <= s.head.capacity
}

// capacityFor returns the size of a segment whose first entry has that span.
func capacityFor(o Options, preamble []byte, entry int64) int64 {
	need := headerBytes + 2*span(int64(len(preamble))) + entry
	return (max(o.SegmentBytes, need) + alignment - 1) &^ (alignment - 1)
}

// writeZeros writes all of an empty file once. Space that was only reserved becomes part of the file when it is first written, and
// every sync would have to bring that to the disk as well.
func (s *segment) writeZeros(size int64) error {
	const step = 1 << 20
	zeros := make([]byte, min(step, size))
	for at := int64(0); at < size; at += step {
		if err := s.file.WriteAt([][]byte{zeros[:min(step, size-at)]}, at); err != nil {
			return err
		}
	}
	return nil
}
