package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal/segment"
)

// found is a segment on disk.
type found struct {
	segment.Name
	size     int64
	head     segment.Header
	sum      uint32
	readable bool // head was read from the file, not guessed
	filler   bool // there is no such file, but a salvage will make one
	read     *segment.Scan
	fault    error // the first damage, of a log that is salvaged
}

func (s *found) jumps() bool { return s.head.Salvaged() || s.fault != nil }

// bound refuses a file that is larger than the log ever made it, and has what is beyond left unread.
func (s *found) bound() error {
	most := s.head.Largest()
	if s.size <= most {
		return nil
	}
	err := s.Fault(most, segment.Corrupt("the file has %d bytes, a segment like this has %d at most", s.size, most))
	s.size = most
	return err
}

// plan is what the directory holds and what Open will do about it. Making it changes nothing.
type plan struct {
	o       Options
	next    int64 // rows in the table
	visit   func(segment.Entry) error
	keep    bool // entries may be kept
	started time.Time
	logged  time.Time

	temps    []string // unfinished files
	stale    []*found // before the first segment that is needed
	segments []*found
	aborted  *found // the last segment, empty, when its making was interrupted
	offset   int64  // the row after those seen
	report   Report
}

func makePlan(o Options, next int64, visit func(segment.Entry) error, keep bool) (*plan, error) {
	p := &plan{o: o, next: next, visit: visit, keep: keep, started: time.Now()}
	p.logged = p.started
	names, unfinished, err := o.files().List()
	if err != nil {
		return p, err
	}
	p.temps = unfinished
	for _, name := range names {
		p.segments = append(p.segments, &found{Name: name})
	}
	p.report.Segments = len(p.segments)
	for _, s := range p.segments {
		if err := p.readHead(s); err != nil {
			return p, err
		}
	}
	// The heads of all segments say which are needed, before the entries of any are read: an
	// opening of a bucket that was closed reads a few blocks.
	if err := p.skipStale(); err != nil {
		return p, err
	}
	for i := 0; i < len(p.segments); i++ { // what is found on the way shortens or lengthens it
		if err := p.readSegment(i); err != nil {
			return p, err
		}
	}
	for _, s := range p.segments {
		if s.fault != nil {
			p.report.Faults = append(p.report.Faults, s.fault)
			if !s.filler {
				p.report.Broken = append(p.report.Broken, s.Path+segment.BrokenSuffix)
			}
		}
	}
	// Never below the table's: the offsets of rows that it holds are not given again, whatever the
	// log says.
	p.report.End = max(p.next, p.offset)
	p.report.Took = time.Since(p.started)
	return p, nil
}

// readHead fills in size and head of s. A head that cannot be read is guessed from the records when the log is salvaged.
func (p *plan) readHead(s *found) error {
	f, err := p.o.FS.Open(s.Path)
	if err != nil {
		return s.Fault(0, err)
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		return s.Fault(0, err)
	}
	w := &segment.Window{File: f, Size: s.size, Patient: p.o.Recovery == Salvage}
	s.head, s.sum, err = w.Header()
	switch {
	case err == nil && s.head.Bucket != p.o.Bucket:
		err = fmt.Errorf("%w: the segment belongs to bucket %x", segment.ErrForeign, s.head.Bucket)
	case err == nil && s.head.Sequence != s.Sequence:
		err = segment.Corrupt("the file holds segment %d", s.head.Sequence)
	}
	if err == nil {
		s.readable = true
		if s.fault = s.bound(); s.fault != nil && p.o.Recovery == Strict {
			return s.fault
		}
		return nil
	}
	if err = s.Fault(0, err); p.o.Recovery == Strict || !errors.Is(err, segment.ErrCorrupt) {
		return err
	}
	s.fault = err
	// A head that is gone takes nothing with it: the records carry their offsets, and the salt is
	// in their checksums.
	s.head = segment.Header{Bucket: p.o.Bucket, Sequence: s.Sequence, Capacity: s.size}
	if s.head.Salt, s.head.Base, err = w.Guess(); err != nil {
		return s.Fault(0, err)
	}
	return nil
}

// skipStale sets the segments aside whose rows the table holds. Reading begins at the last segment that begins within the
// table, if the one before leads to it; when that is missing, a Cut was interrupted.
func (p *plan) skipStale() error {
	if len(p.segments) == 0 {
		p.next = max(p.next, 0)
		p.offset = p.next
		return nil
	}
	if p.next < 0 {
		p.next = max(p.segments[0].head.Base, 0)
		return nil
	}
	start := 0
	for i, s := range p.segments {
		if i > 0 && s.head.Base < p.segments[i-1].head.Base {
			if p.o.Recovery == Salvage {
				return nil // read everything
			}
			return s.Fault(0, segment.Corrupt("the segment begins at row %d, before the one that it follows", s.head.Base))
		}
		if s.head.Base <= p.next {
			start = i
		}
	}
	for start > 0 && p.segments[start-1].Sequence+1 == p.segments[start].Sequence && !p.leads(p.segments[start-1], p.segments[start]) {
		start--
	}
	p.stale, p.segments = p.segments[:start:start], p.segments[start:]
	return nil
}

// leads reports whether prev ends with a mark after which s begins.
func (p *plan) leads(prev, s *found) bool {
	if !prev.readable || !s.readable || prev.size < s.head.PrevEnd {
		return false
	}
	f, err := p.o.FS.Open(prev.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	w := &segment.Window{File: f, Size: prev.size}
	return w.Leads(prev.head, s.head)
}

// readSegment reads segment i, after those before it.
func (p *plan) readSegment(i int) error {
	s := p.segments[i]
	if err := p.join(i); err != nil {
		return err
	}
	// It is read in its turn.
	if p.segments[i] != s { // a filler was put in between
		return nil
	}
	f, err := p.o.FS.Open(s.Path)
	if err != nil {
		return s.Fault(0, err)
	}
	defer f.Close()
	p.attach(s, f)
	defer s.read.Release()
	if s.head.Base < p.offset && i > 0 {
		s.read.Offset, s.read.Lost = p.offset, true // join let it pass, so the log is salvaged
	}
	for {
		entry, err := s.read.Next()
		if err == nil {
			if err := p.deliver(entry); err != nil {
				return err
			}
			continue
		}
		if s.fault == nil || !stops(err) {
			damage := p.judge(i, err)
			if damage == nil {
				break
			}
			if p.o.Recovery == Strict || !errors.Is(damage, segment.ErrCorrupt) {
				return damage
			}
			s.fault = damage
		}
		// To the next place at which a record with the right salt and checksum begins.
		more, err := s.read.Seek()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	p.missing(s.read.Offset)
	if s.fault != nil && i == len(p.segments)-1 {
		return p.judgeRest(s)
	}
	return nil
}

func (p *plan) attach(s *found, f vfs.File) {
	w := segment.Window{File: f, Size: s.size, Keep: p.keep, Patient: p.o.Recovery == Salvage}
	s.read = segment.NewScan(w, s.Name, s.head, s.sum, p.o.MaxEntryBytes)
	s.read.Lost = s.jumps()
}

// stops reports whether err is where the records of a damaged segment may end or be skipped.
func stops(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, segment.ErrCorrupt) }

// join checks that segment i begins where the one before it ended. A log that is salvaged gets a filler where it does not.
func (p *plan) join(i int) error {
	s := p.segments[i]
	blame := s
	var err error
	if i == 0 {
		if s.head.Base < 0 {
			s.head.Base = p.next
		}
		if s.head.Base <= p.next {
			p.offset = s.head.Base
			return nil
		}
		p.offset = p.next
		blame, err = &found{filler: true}, &GapError{Path: s.Path, Next: p.next, First: s.head.Base}
	} else {
		prev := p.segments[i-1]
		if s.head.Base < 0 {
			s.head.Base = p.offset
		}
		switch {
		// A salvage has been here, now or before, and what it lost is noted by the rows.
		case prev.jumps() && s.head.Base >= p.offset:
			p.missing(s.head.Base)
			return nil
		case s.Sequence != prev.Sequence+1 && !prev.jumps():
			blame, err = &found{filler: true}, s.Fault(0, segment.Corrupt("segment %d, which comes before, is missing", prev.Sequence+1))
		case s.head.Base < p.offset:
			err = s.Fault(0, segment.Corrupt("the segment begins at row %d, the one before ended at row %d", s.head.Base, p.offset))
		case s.readable && (s.head.Base != p.offset || s.head.PrevEnd != prev.read.Pos || s.head.PrevChain != prev.read.Chain):
			blame, err = prev, s.Fault(0, segment.Corrupt("the segment does not continue segment %d as it is", prev.Sequence))
		}
	}
	if err == nil || p.o.Recovery == Strict || blame.filler && s.Sequence == 0 {
		return err
	}
	// The first fault of a segment is the one that is told; what follows from it would be another
	// name for it.
	if blame.fault == nil {
		blame.fault = err
	}
	if blame.filler {
		blame.Name = p.o.files().Name(s.Sequence - 1)
		blame.head = segment.Header{Bucket: p.o.Bucket, Sequence: blame.Sequence, Base: p.offset}
		p.attach(blame, nil)
		p.segments = slices.Insert(p.segments, i, blame)
	}
	// Then it is known where the rows go on: at the base of this one.
	if blame != s {
		p.missing(s.head.Base)
	}
	return nil
}

// judge says why segment i, where reading stopped with err, does not just end there, or returns nil.
func (p *plan) judge(i int, stop error) error {
	s := p.segments[i]
	r := s.read
	end := errors.Is(stop, io.EOF)
	if !end && !errors.Is(stop, segment.ErrCorrupt) {
		return stop
	}
	damage := func(format string, args ...any) error {
		if !end {
			return stop
		}
		return r.Fault(r.Pos, segment.Corrupt(format, args...))
	}
	if i < len(p.segments)-1 {
		if end && r.Sealed {
			return nil
		}
		next := p.segments[i+1]
		half, err := p.half(i, next)
		if err != nil {
			return err
		}
		if !half {
			return damage("the segment has no end mark, but segment %d follows", next.Sequence)
		}
		p.aborted, p.segments = next, p.segments[:i+1]
		return nil
	}
	if r.Sealed {
		return damage("segment %d, which comes next, is missing", s.Sequence+1)
	}
	used, promised, err := r.Tail()
	switch {
	case err != nil:
		return err
	case promised > r.Pos && p.o.live && r.Grew():
		return nil // it came while the rest was looked at, and whoever follows the log goes on there
	case promised > r.Pos:
		return damage("zeros in the place of a record that was on disk")
	case !r.Ready:
		return damage("the preamble is missing")
	case !r.Closed && s.size < s.head.Capacity:
		return s.Fault(s.size, segment.Corrupt("the file was cut to %d of %d bytes", s.size, s.head.Capacity))
	// What stands there is no record and was promised by none: an entry that was being written. It
	// was never acknowledged, or not by a sync.
	case !r.Closed && used > r.Pos:
		p.report.TornBytes, p.report.TornFile = used-r.Pos, s.Path
	}
	return nil
}

// half reports whether next, the last segment, is empty and was being made when segment i, as far as it was read, should have
// got its end mark.
func (p *plan) half(i int, next *found) (bool, error) {
	r := p.segments[i].read
	if i != len(p.segments)-2 || !next.readable || !r.Ready {
		return false, nil
	}
	// What the mark would have been is known, as it follows from the entries: where the next
	// segment names it, no entry can be missing between.
	end, chain := r.Segment().Seal()
	if next.head.Base != r.Offset || next.head.PrevEnd != end || next.head.PrevChain != chain {
		return false, nil
	}
	f, err := p.o.FS.Open(next.Path)
	if err != nil {
		return false, next.Fault(0, err)
	}
	defer f.Close()
	p.attach(next, f)
	defer next.read.Release()
	_, err = next.read.Next()
	switch {
	case err != nil && !stops(err):
		return false, err
	case !errors.Is(err, io.EOF) || !next.read.Ready || next.read.Closed:
		return false, nil
	}
	used, _, err := next.read.Tail()
	return used == next.read.Pos, err
}

// judgeRest notes when it cannot be known how many rows the damaged last segment held.
func (p *plan) judgeRest(s *found) error {
	if s.read.Closed && !s.read.Sealed {
		return nil
	}
	used, _, err := s.read.Tail()
	if err == nil && (used > s.read.Pos || s.read.Sealed || s.size < s.head.Capacity || !s.readable) {
		p.report.Missing = append(p.report.Missing, Range{p.offset, -1})
	}
	return err
}

// deliver hands an entry on when it reaches beyond the table.
func (p *plan) deliver(e segment.Entry) error {
	p.missing(e.First)
	p.offset = e.First + e.Rows
	if p.offset <= p.next {
		return nil
	}
	p.report.Entries++
	p.report.Rows += e.Rows - max(p.next-e.First, 0)
	p.report.Bytes += int64(len(e.Body))
	// A log of gigabytes takes its time, and a person wants to see that it goes on.
	if time.Since(p.logged) > time.Second {
		p.logged = time.Now()
		p.o.Logger.Info("wal: reading", "dir", p.o.Dir, "entries", p.report.Entries, "rows", p.report.Rows, "bytes", p.report.Bytes)
	}
	if p.visit == nil {
		return nil
	}
	if err := p.visit(e); err != nil {
		return fmt.Errorf("wal: replay of row %d: %w", e.First, err)
	}
	return nil
}

// missing moves to a later row and notes those between that the table does not hold.
func (p *plan) missing(row int64) {
	if from := max(p.offset, p.next); row > from {
		p.report.Missing = append(p.report.Missing, Range{from, row})
	}
	p.offset = max(p.offset, row)
}

func openPlan(o Options, next int64, visit func(segment.Entry) error, keep bool) (*plan, error) {
	if err := o.Validate(); err != nil {
		return &plan{}, err
	}
	return makePlan(o.withDefaults(), next, visit, keep)
}
