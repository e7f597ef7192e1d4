package wal

import (
	"errors"
	"io"

	"github.com/persisting/persisting/vfs"
)

// Verify says what Open would, and changes nothing. With Recovery set to Salvage it shows what a salvage would save. A next
// below zero means that the table is not known: the oldest segment counts as the first one needed. The entries that visit gets
// are only valid until it returns; visit may be nil. While a log is open and written to, the answer may be wrong.
func Verify(o Options, next int64, visit func(Entry) error) (Report, error) {
	p, err := openPlan(o, next, visit, false)
	return p.report, err
}

// SegmentInfo describes one file for a person.
type SegmentInfo struct {
	Path      string
	Sequence  uint64
	Bucket    [16]byte
	Base      int64 // first row
	Rows      int64
	Entries   int64
	Preamble  int64 // bytes
	Bytes     int64 // in use
	Allocated int64 // size of the file
	Closed    bool  // it ends with an end mark
	Sealed    bool  // it says that another segment follows
	Salvaged  bool  // it was written by a salvage, so that offsets may jump
	Err       error // what keeps it from being read to its end; nil for a torn tail
}

// Inspect lists the segments in a directory, each by itself. It changes nothing.
func Inspect(fs vfs.FS, dir string) ([]SegmentInfo, error) {
	o := Options{Dir: dir, FS: fs}.withDefaults()
	segments, _, err := list(o)
	if err != nil {
		return nil, err
	}
	infos := make([]SegmentInfo, len(segments))
	for i, s := range segments {
		infos[i] = inspect(o, s)
	}
	return infos, nil
}

func inspect(o Options, s *found) (info SegmentInfo) {
	info = SegmentInfo{Path: s.path, Sequence: s.sequence}
	f, err := o.FS.Open(s.path)
	if err != nil {
		info.Err = s.broken(0, err)
		return info
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		info.Err = s.broken(0, err)
		return info
	}
	info.Allocated = s.size
	w := window{file: f, size: s.size}
	b, err := w.head()
	if err == nil {
		s.head, s.sum, err = decodeHeader(b)
	}
	if err == nil {
		s.readable = true
		if info.Err = s.bound(); info.Err != nil {
			return info
		}
	}
	if err != nil {
		info.Err = s.broken(0, err)
		return info
	}
	info.Bucket, info.Base, info.Salvaged = s.head.bucket, s.head.base, s.head.salvaged()
	p := &plan{o: o, segments: []*found{s}}
	p.attach(s, f)
	for err == nil {
		_, err = s.read.next()
	}
	r := s.read
	if !errors.Is(err, io.EOF) || !r.sealed {
		info.Err = p.judge(0, err)
	}
	info.Rows, info.Entries, info.Preamble = r.offset-s.head.base, r.entries, int64(len(r.preamble))
	info.Bytes, info.Closed, info.Sealed = r.pos, r.closed, r.sealed
	return info
}
