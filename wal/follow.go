package wal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/persisting/persisting/wal/segment"
)

// Follower reads a log that another process may be writing to, and goes on where it was: a call costs what is new. It changes
// nothing. Its methods are for one goroutine at a time.
//
// An entry is acknowledged once the kernel has all of it, so what is seen of an entry in part was not acknowledged when the call
// began: it is the end of the log for now. Entries that are there and not synced yet are given as well.
type Follower struct {
	o  Options
	at *segment.Scan // of the newest segment; nil where there is none

	// What stands at the place of the next record and is none, as a crash leaves it; nil for nothing.
	torn []byte
}

// Follow makes a follower of the log in o.Dir, which has not read anything yet. Of the options that say how to write none counts.
func Follow(o Options) *Follower {
	o.Recovery, o.live = Strict, true
	return &Follower{o: o}
}

// Begin reads the log from its beginning, as [Read] does, and gives visit the entries that reach beyond next, the rows that the
// table is known to have. Each is valid until visit returns. Damage is an error as it is for [Open]; what is removed or made at
// this moment can look like it, but not twice.
func (f *Follower) Begin(next int64, visit func(segment.Entry) error) (Report, error) {
	f.at, f.torn = nil, nil
	p, err := openPlan(f.o, next, visit, false)
	if err != nil || len(p.segments) == 0 {
		return p.report, err
	}
	f.at = p.segments[len(p.segments)-1].read
	// What a crash left stays there until a writer opens the log. It is known by its bytes, so that
	// each later look tells it from an entry that is being written now.
	if p.report.TornBytes > 0 {
		f.torn, err = f.standing(f.at)
	}
	return p.report, err
}

// standing returns what is in the place of the next record.
func (f *Follower) standing(s *segment.Scan) ([]byte, error) {
	file, err := f.o.fs().Open(s.Name().Path)
	if err != nil {
		return nil, s.Fault(s.Pos, err)
	}
	defer file.Close()
	b := make([]byte, segment.RecordBytes)
	return b, s.Look(file, b, s.Pos)
}

// More gives visit the entries that came since, and ends early, with more, once those were of limit bytes; below zero is no limit.
// It returns false where the log is not the one that was read, because rows that were read were cut, or taken back: then what it
// gave is void, and the way on is Begin.
func (f *Follower) More(limit int64, visit func(segment.Entry) error) (same, more bool, err error) {
	for {
		if f.at == nil {
			// An empty log, and still one: the first segment makes another of it.
			segments, _, err := f.o.withDefaults().files().List()
			return len(segments) == 0, false, err
		}
		same, more, err = f.read(&limit, visit)
		if err != nil || !same || more || !f.at.Sealed {
			return same, more, err
		}
		if same, err = f.advance(); !same || err != nil {
			return same, false, err
		}
	}
}

// Size is the bytes that the segments take which are there, of the newest those that were read, and their number; zero where they
// are removed at this moment.
func (f *Follower) Size() (bytes int64, segments int) {
	found, _, err := f.o.withDefaults().files().List()
	if err != nil || f.at == nil {
		return 0, 0
	}
	for _, s := range found {
		if s.Sequence == f.at.Name().Sequence {
			bytes += f.at.Pos
		} else if info, err := f.o.fs().Stat(s.Path); err == nil {
			bytes += info.Size
		}
	}
	return bytes, len(found)
}

// followBytes is read at once: there is seldom more.
const followBytes = 8 << 10

// tornTries and tornPause are for what is being written.
const (
	tornTries = 5
	tornPause = time.Millisecond
)

// read reads on in the segment.
func (f *Follower) read(limit *int64, visit func(segment.Entry) error) (same, more bool, err error) {
	s := f.at
	file, err := f.o.fs().Open(s.Name().Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, s.Fault(s.Pos, err)
	}
	defer file.Close()
	// A writer that failed takes back what it wrote last, and others may come to its place: what
	// was read must be there still before anything after it is believed.
	if same, err = s.Stands(file); err != nil || !same {
		return false, false, err
	}
	defer s.Release()
	for try := 0; ; {
		size, failed := file.Size()
		if failed != nil {
			return false, false, s.Fault(s.Pos, failed)
		}
		s.Resume(segment.Window{File: file, Size: size, Step: followBytes})
		for *limit != 0 {
			e, failed := s.Next()
			if err = failed; err != nil {
				break
			}
			// Whoever writes gets on, so what is torn at the next place is a new one.
			try = 0
			if *limit > 0 {
				*limit = max(*limit-int64(len(e.Body)), 0)
			}
			if err := visit(e); err != nil {
				return false, false, err
			}
		}
		switch {
		case err == nil:
			return true, true, nil
		case errors.Is(err, io.EOF):
			return true, false, nil
		case !errors.Is(err, segment.ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF):
			return false, false, err
		case f.isTorn():
			return true, false, nil
		case try == tornTries:
			return false, false, nil // Begin judges it
		}
		try++
		time.Sleep(tornPause)
	}
}

// isTorn says that in the place of the next record stands what stood there when the log was read as a whole.
func (f *Follower) isTorn() bool {
	if f.torn == nil {
		return false
	}
	now, err := f.standing(f.at)
	return err == nil && bytes.Equal(now, f.torn)
}

// advance goes on to the segment after a sealed one.
func (f *Follower) advance() (same bool, err error) {
	before := f.at
	p := &plan{o: f.o.withDefaults()}
	next := &found{Name: p.o.files().Name(before.Name().Sequence + 1)}
	err = p.readHead(next)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h := &next.head
	// By its chain and not by its number: a log that was made anew in the directory has the same
	// numbers.
	if h.Base != before.Offset || h.PrevEnd != before.Pos || h.PrevChain != before.Chain {
		return false, nil
	}
	p.attach(next, nil)
	f.at, f.torn = next.read, nil
	return true, nil
}
