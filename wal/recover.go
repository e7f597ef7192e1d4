package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/persisting/persisting/vfs"
)

const (
	suffix       = ".wal"
	tempSuffix   = ".tmp"
	brokenSuffix = ".broken"
	nameDigits   = 20
	maxSequence  = 1 << 62
)

// found is a segment on disk.
type found struct {
	path     string
	sequence uint64
	size     int64
	head     header
	sum      uint32
	readable bool // head was read from the file, not guessed
	filler   bool // there is no such file, but a salvage will make one
	read     *scan
	fault    error // the first damage, of a log that is salvaged
}

func (s *found) jumps() bool { return s.head.salvaged() || s.fault != nil }

func (s *found) broken(pos int64, err error) error {
	return &SegmentError{Path: s.path, Segment: s.sequence, Offset: pos, Err: err}
}

// bound refuses a file that is larger than the log ever made it, and has what is beyond left unread.
func (s *found) bound() error {
	most := s.head.largest()
	if s.size <= most {
		return nil
	}
	err := s.broken(most, corrupt("the file has %d bytes, a segment like this has %d at most", s.size, most))
	s.size = most
	return err
}

// plan is what the directory holds and what Open will do about it. Making it changes nothing.
type plan struct {
	o       Options
	next    int64 // rows in the table
	visit   func(Entry) error
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

func makePlan(o Options, next int64, visit func(Entry) error, keep bool) (*plan, error) {
	p := &plan{o: o, next: next, visit: visit, keep: keep, started: time.Now()}
	p.logged = p.started
	var err error
	if p.segments, p.temps, err = list(o); err != nil {
		return p, err
	}
	p.report.Segments = len(p.segments)
	for _, s := range p.segments {
		if err := p.readHead(s); err != nil {
			return p, err
		}
	}
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
				p.report.Broken = append(p.report.Broken, s.path+brokenSuffix)
			}
		}
	}
	p.report.End = max(p.next, p.offset)
	p.report.Took = time.Since(p.started)
	return p, nil
}

// list returns the segments, by sequence number, and the unfinished files.
func list(o Options) (segments []*found, temps []string, err error) {
	names, err := o.FS.ReadDir(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		path := filepath.Join(o.Dir, name)
		base, temp := strings.CutSuffix(name, tempSuffix)
		if temp {
			base = strings.TrimSuffix(base, brokenSuffix)
		}
		digits, isSegment := strings.CutSuffix(base, suffix)
		if !isSegment {
			continue
		}
		sequence, err := strconv.ParseUint(digits, 10, 64)
		switch {
		case err != nil || len(digits) != nameDigits || sequence > maxSequence:
			return nil, nil, &SegmentError{Path: path, Err: fmt.Errorf("%w: not the name of a segment", ErrForeign)}
		case temp:
			temps = append(temps, path)
		default:
			segments = append(segments, &found{path: path, sequence: sequence})
		}
	}
	return segments, temps, nil
}

func segmentPath(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%0*d%s", nameDigits, sequence, suffix))
}

// readHead fills in size and head of s. A head that cannot be read is guessed from the records when the log is salvaged.
func (p *plan) readHead(s *found) error {
	f, err := p.o.FS.Open(s.path)
	if err != nil {
		return s.broken(0, err)
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		return s.broken(0, err)
	}
	w := &window{file: f, size: s.size, patient: p.o.Recovery == Salvage}
	b, err := w.head()
	if err != nil {
		return s.broken(0, err)
	}
	s.head, s.sum, err = decodeHeader(b)
	switch {
	case err == nil && s.head.bucket != p.o.Bucket:
		err = fmt.Errorf("%w: the segment belongs to bucket %x", ErrForeign, s.head.bucket)
	case err == nil && s.head.sequence != s.sequence:
		err = corrupt("the file holds segment %d", s.head.sequence)
	}
	if err == nil {
		s.readable = true
		if s.fault = s.bound(); s.fault != nil && p.o.Recovery == Strict {
			return s.fault
		}
		return nil
	}
	if err = s.broken(0, err); p.o.Recovery == Strict || !errors.Is(err, ErrCorrupt) {
		return err
	}
	s.fault = err
	s.head = header{bucket: p.o.Bucket, sequence: s.sequence, base: -1, capacity: s.size}
	at, r, err := findHead(w, headerBytes, decodeUnsalted)
	if err != nil {
		return s.broken(0, err)
	}
	if at >= 0 {
		b, err := w.at(at, recordBytes)
		if err != nil {
			return s.broken(at, err)
		}
		s.head.salt, s.head.base = order.Uint32(b[8:]), r.first
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
		p.next = max(p.segments[0].head.base, 0)
		return nil
	}
	start := 0
	for i, s := range p.segments {
		if i > 0 && s.head.base < p.segments[i-1].head.base {
			if p.o.Recovery == Salvage {
				return nil // read everything
			}
			return s.broken(0, corrupt("the segment begins at row %d, before the one that it follows", s.head.base))
		}
		if s.head.base <= p.next {
			start = i
		}
	}
	for start > 0 && p.segments[start-1].sequence+1 == p.segments[start].sequence && !p.leads(p.segments[start-1], p.segments[start]) {
		start--
	}
	p.stale, p.segments = p.segments[:start:start], p.segments[start:]
	return nil
}

// leads reports whether prev ends with a mark after which s begins.
func (p *plan) leads(prev, s *found) bool {
	if !prev.readable || !s.readable || prev.size < s.head.prevEnd {
		return false
	}
	f, err := p.o.FS.Open(prev.path)
	if err != nil {
		return false
	}
	defer f.Close()
	w := &window{file: f, size: prev.size}
	at := int64(headerBytes)
	for range 2 { // the preamble, which is as long as the end mark, then the end mark
		if at < headerBytes || prev.size-at < recordBytes {
			return false
		}
		b, err := w.at(at, recordBytes)
		if err != nil {
			return false
		}
		r, ok := decodeRecord(b, at, prev.head.salt)
		switch {
		case !ok || r.length > s.head.prevEnd:
			return false
		case r.kind == kindSealed:
			return r.first == s.head.base && at+span(r.length) == s.head.prevEnd
		}
		at = s.head.prevEnd - span(r.length)
	}
	return false
}

// readSegment reads segment i, after those before it.
func (p *plan) readSegment(i int) error {
	s := p.segments[i]
	if err := p.join(i); err != nil {
		return err
	}
	if p.segments[i] != s { // a filler was put in between
		return nil
	}
	f, err := p.o.FS.Open(s.path)
	if err != nil {
		return s.broken(0, err)
	}
	defer f.Close()
	p.attach(s, f)
	defer func() { s.read.win = window{} }()
	if s.head.base < p.offset && i > 0 {
		s.read.offset, s.read.lost = p.offset, true // join let it pass, so the log is salvaged
	}
	for {
		entry, err := s.read.next()
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
			if p.o.Recovery == Strict || !errors.Is(damage, ErrCorrupt) {
				return damage
			}
			s.fault = damage
		}
		more, err := s.read.seek()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	p.missing(s.read.offset)
	if s.fault != nil && i == len(p.segments)-1 {
		return p.judgeRest(s)
	}
	return nil
}

func (p *plan) attach(s *found, f vfs.File) {
	s.read = &scan{
		win:      window{file: f, size: s.size, keep: p.keep, patient: p.o.Recovery == Salvage},
		path:     s.path,
		head:     s.head,
		maxBytes: p.o.MaxEntryBytes,
		first:    s.sum,
		pos:      headerBytes,
		chain:    s.sum,
		offset:   s.head.base,
		lost:     s.jumps(),
	}
}

// stops reports whether err is where the records of a damaged segment may end or be skipped.
func stops(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, ErrCorrupt) }

// join checks that segment i begins where the one before it ended. A log that is salvaged gets a filler where it does not.
func (p *plan) join(i int) error {
	s := p.segments[i]
	blame := s
	var err error
	if i == 0 {
		if s.head.base < 0 {
			s.head.base = p.next
		}
		if s.head.base <= p.next {
			p.offset = s.head.base
			return nil
		}
		p.offset = p.next
		blame, err = &found{filler: true}, &GapError{Path: s.path, Next: p.next, First: s.head.base}
	} else {
		prev := p.segments[i-1]
		if s.head.base < 0 {
			s.head.base = p.offset
		}
		switch {
		case prev.jumps() && s.head.base >= p.offset:
			p.missing(s.head.base)
			return nil
		case s.sequence != prev.sequence+1 && !prev.jumps():
			blame, err = &found{filler: true}, s.broken(0, corrupt("segment %d, which comes before, is missing", prev.sequence+1))
		case s.head.base < p.offset:
			err = s.broken(0, corrupt("the segment begins at row %d, the one before ended at row %d", s.head.base, p.offset))
		case s.readable && (s.head.base != p.offset || s.head.prevEnd != prev.read.pos || s.head.prevChain != prev.read.chain):
			blame, err = prev, s.broken(0, corrupt("the segment does not continue segment %d as it is", prev.sequence))
		}
	}
	if err == nil || p.o.Recovery == Strict || blame.filler && s.sequence == 0 {
		return err
	}
	if blame.fault == nil {
		blame.fault = err
	}
	if blame.filler {
		blame.sequence = s.sequence - 1
		blame.path = segmentPath(p.o.Dir, blame.sequence)
		blame.head = header{bucket: p.o.Bucket, sequence: blame.sequence, base: p.offset}
		p.attach(blame, nil)
		p.segments = slices.Insert(p.segments, i, blame)
	}
	if blame != s {
		p.missing(s.head.base)
	}
	return nil
}

// judge says why segment i, where reading stopped with err, does not just end there, or returns nil.
func (p *plan) judge(i int, stop error) error {
	s := p.segments[i]
	r := s.read
	end := errors.Is(stop, io.EOF)
	if !end && !errors.Is(stop, ErrCorrupt) {
		return stop
	}
	damage := func(format string, args ...any) error {
		if !end {
			return stop
		}
		return r.fault(r.pos, corrupt(format, args...))
	}
	if i < len(p.segments)-1 {
		if end && r.sealed {
			return nil
		}
		next := p.segments[i+1]
		half, err := p.half(i, next)
		if err != nil {
			return err
		}
		if !half {
			return damage("the segment has no end mark, but segment %d follows", next.sequence)
		}
		p.aborted, p.segments = next, p.segments[:i+1]
		return nil
	}
	if r.sealed {
		return damage("segment %d, which comes next, is missing", s.sequence+1)
	}
	used, promised, err := r.tail()
	switch {
	case err != nil:
		return err
	case promised > r.pos && p.o.live && r.grew():
		return nil // it came while the rest was looked at, and whoever follows the log goes on there
	case promised > r.pos:
		return damage("zeros in the place of a record that was on disk")
	case !r.ready:
		return damage("the preamble is missing")
	case !r.closed && s.size < s.head.capacity:
		return s.broken(s.size, corrupt("the file was cut to %d of %d bytes", s.size, s.head.capacity))
	case !r.closed && used > r.pos:
		p.report.TornBytes, p.report.TornFile = used-r.pos, s.path
	}
	return nil
}

// half reports whether next, the last segment, is empty and was being made when segment i, as far as it was read, should have
// got its end mark.
func (p *plan) half(i int, next *found) (bool, error) {
	r := p.segments[i].read
	if i != len(p.segments)-2 || !next.readable || !r.ready {
		return false, nil
	}
	mark := marker(kindSealed, r.pos, r.offset, r.head.salt, r.preamble)
	if next.head.base != r.offset || next.head.prevEnd != r.pos+int64(len(mark)) || next.head.prevChain != extend(r.chain, mark) {
		return false, nil
	}
	f, err := p.o.FS.Open(next.path)
	if err != nil {
		return false, next.broken(0, err)
	}
	defer f.Close()
	p.attach(next, f)
	defer func() { next.read.win = window{} }()
	_, err = next.read.next()
	switch {
	case err != nil && !stops(err):
		return false, err
	case !errors.Is(err, io.EOF) || !next.read.ready || next.read.closed:
		return false, nil
	}
	used, _, err := next.read.tail()
	return used == next.read.pos, err
}

// judgeRest notes when it cannot be known how many rows the damaged last segment held.
func (p *plan) judgeRest(s *found) error {
	if s.read.closed && !s.read.sealed {
		return nil
	}
	used, _, err := s.read.tail()
	if err == nil && (used > s.read.pos || s.read.sealed || s.size < s.head.capacity || !s.readable) {
		p.report.Missing = append(p.report.Missing, Range{p.offset, -1})
	}
	return err
}

// deliver hands an entry on when it reaches beyond the table.
func (p *plan) deliver(e Entry) error {
	p.missing(e.First)
	p.offset = e.First + e.Rows
	if p.offset <= p.next {
		return nil
	}
	p.report.Entries++
	p.report.Rows += e.Rows - max(p.next-e.First, 0)
	p.report.Bytes += int64(len(e.Body))
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
