package wal

import (
	"errors"
	"io"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal/segment"
)

// Verify says what Open would, and changes nothing. With Recovery set to Salvage it shows what a salvage would save. A next
// below zero means that the table is not known: the oldest segment counts as the first one needed. The entries that visit gets
// are only valid until it returns; visit may be nil. While a log is open and written to, the answer may be wrong.
func Verify(o Options, next int64, visit func(segment.Entry) error) (Report, error) {
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
	segments, _, err := o.files().List()
	if err != nil {
		return nil, err
	}
	infos := make([]SegmentInfo, len(segments))
	for i, s := range segments {
		infos[i] = inspect(o, &found{Name: s})
	}
	return infos, nil
}

func inspect(o Options, s *found) (info SegmentInfo) {
	info = SegmentInfo{Path: s.Path, Sequence: s.Sequence}
	f, err := o.FS.Open(s.Path)
	if err != nil {
		info.Err = s.Fault(0, err)
		return info
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		info.Err = s.Fault(0, err)
		return info
	}
	info.Allocated = s.size
	w := segment.Window{File: f, Size: s.size}
	if s.head, s.sum, err = w.Header(); err != nil {
		info.Err = s.Fault(0, err)
		return info
	}
	s.readable = true
	if info.Err = s.bound(); info.Err != nil {
		return info
	}
	info.Bucket, info.Base, info.Salvaged = s.head.Bucket, s.head.Base, s.head.Salvaged()
	// A plan of this segment alone: judged as the last one of a log, whatever comes after it.
	p := &plan{o: o, segments: []*found{s}}
	p.attach(s, f)
	for err == nil {
		_, err = s.read.Next()
	}
	r := s.read
	if !errors.Is(err, io.EOF) || !r.Sealed {
		info.Err = p.judge(0, err)
	}
	info.Rows, info.Entries, info.Preamble = r.Offset-s.head.Base, r.Entries, int64(len(r.Preamble))
	info.Bytes, info.Closed, info.Sealed = r.Pos, r.Closed, r.Sealed
	return info
}
