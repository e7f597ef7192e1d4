package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/persisting/persisting/wal/segment"
)

// apply makes the directory what the plan says and returns the segments that stay. Every step leaves a directory from which
// another plan comes to the same end.
func (p *plan) apply() ([]*segment.Segment, error) {
	if err := p.o.FS.MkdirAll(p.o.Dir); err != nil {
		return nil, err
	}
	// First, as from here on the plan is believed: what it has seen in memory alone could be gone
	// after the next power failure, and with it what is removed now.
	if err := p.settle(); err != nil {
		return nil, err
	}
	for _, temp := range p.temps {
		if err := p.o.FS.Remove(temp); err != nil {
			return nil, err
		}
	}
	p.report.Broken = nil
	for i, s := range p.segments {
		if s.fault != nil {
			if err := p.rewrite(i); err != nil {
				return nil, fmt.Errorf("wal: salvage of %s: %w", s.Path, err)
			}
		}
	}
	// A segment whose making was interrupted goes first: with it on disk, the one before may only get the mark that it names.
	if p.aborted != nil {
		if err := p.remove(p.aborted); err != nil {
			return nil, err
		}
	}
	if p.offset <= p.next {
		if err := p.o.Standing(false); err != nil {
			return nil, err
		}
		return nil, p.remove(slices.Concat(p.stale, p.segments)...)
	}
	if err := p.remove(p.stale...); err != nil {
		return nil, err
	}
	segments := make([]*segment.Segment, len(p.segments))
	for i, s := range p.segments {
		segments[i] = s.read.Segment()
	}
	last := segments[len(segments)-1]
	// The log was closed properly, and the next entry begins a segment.
	if last.Closed() {
		return segments, nil
	}
	return segments, last.Finish(p.o.FS, segment.Closed)
}

// settle brings to the disk what a process that was killed may have left in the memory of the system, all of which the plan has
// seen: names, entries of the last segment, the end mark of the one before.
func (p *plan) settle() error {
	if err := p.o.FS.SyncDir(p.o.Dir); err != nil {
		return err
	}
	// Those before were on the disk before the one after them had a name.
	for _, s := range p.segments[max(0, len(p.segments)-2):] {
		if s.filler {
			continue
		}
		f, err := p.o.FS.Open(s.Path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Datasync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// remove removes segments, the newest not before the others are gone for good: a Cut or an Open that is interrupted leaves the
// end of the log.
func (p *plan) remove(segments ...*found) error {
	for i, s := range segments {
		// A crash may keep any of the removals before the sync, and the newest must be the last to
		// go.
		if i > 0 && i == len(segments)-1 {
			if err := p.o.FS.SyncDir(p.o.Dir); err != nil {
				return err
			}
		}
		if err := p.o.FS.Remove(s.Path); err != nil {
			return err
		}
		p.report.Removed = append(p.report.Removed, s.Path)
	}
	if len(segments) == 0 {
		return nil
	}
	return p.o.FS.SyncDir(p.o.Dir)
}

// rewrite puts a segment of what can be read in the place of damaged segment i, a copy of which is kept.
func (p *plan) rewrite(i int) error {
	s := p.segments[i]
	r := s.read
	// Sealed in the middle of the log, where another follows; the last one gets no more entries
	// either way.
	kind := segment.Closed
	if i < len(p.segments)-1 {
		kind = segment.Sealed
	}
	h := segment.Header{
		Bucket: p.o.Bucket, Sequence: s.Sequence, Base: s.head.Base, Salt: p.o.salt(), Flags: segment.FlagSalvaged,
		Capacity: segment.HeaderBytes + 2*segment.Span(int64(len(r.Preamble))),
	}
	if i > 0 {
		before := p.segments[i-1].read
		h.Base, h.PrevEnd, h.PrevChain = before.Offset, before.Pos, before.Chain
	}
	for _, e := range r.Kept {
		h.Capacity += e.To - e.From
	}
	fill := func(made *segment.Segment) error {
		if err := p.copyEntries(made, s); err != nil {
			return err
		}
		made.Skip(r.Offset)
		return made.Mark(kind)
	}
	aside := func() error {
		if s.filler {
			return nil
		}
		name, err := p.copyAside(s)
		p.report.Broken = append(p.report.Broken, name)
		return err
	}
	made, err := segment.Create(p.o.files(), h, r.Preamble, segment.Making{Zeros: p.o.zeros(h.Capacity), Fill: fill, Settle: aside})
	if err != nil {
		return err
	}
	s.head, s.fault = h, nil
	r.Replace(made, kind)
	return made.Drop()
}

// copyEntries appends the entries of a damaged segment that can be read.
func (p *plan) copyEntries(made *segment.Segment, s *found) error {
	if len(s.read.Kept) == 0 {
		return nil
	}
	f, err := p.o.FS.Open(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := segment.Window{File: f, Size: s.size, Patient: true}
	return made.Copy(segment.NewScan(w, s.Name, s.head, s.sum, p.o.MaxEntryBytes), s.read.Kept)
}

// copyAside copies a damaged file to a free name that ends in .broken. Sectors that cannot be read become 0xff bytes.
func (p *plan) copyAside(s *found) (string, error) {
	name := s.Path + segment.BrokenSuffix
	for n := 1; ; n++ {
		_, err := p.o.FS.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		// An older copy may have what this one has lost; nothing damaged is ever thrown away.
		name = fmt.Sprintf("%s%s.%d", s.Path, segment.BrokenSuffix, n)
	}
	source, err := p.o.FS.Open(s.Path)
	if err != nil {
		return "", err
	}
	defer source.Close()
	temp := s.Path + segment.BrokenSuffix + segment.TempSuffix
	target, err := p.o.FS.Create(temp)
	if err != nil {
		return "", err
	}
	w := &segment.Window{File: source, Size: s.size, Patient: true}
	for at := w.Skip(0); at < s.size && err == nil; at = w.Skip(at) {
		var b []byte
		if b, err = w.At(at, min(s.size-at, segment.ChunkBytes)); err == nil {
			err = target.WriteAt([][]byte{b}, at)
			at += int64(len(b))
		}
	}
	if err == nil {
		err = target.Truncate(s.size)
	}
	if err == nil {
		err = target.Sync()
	}
	if err = errors.Join(err, target.Close()); err != nil {
		return "", err
	}
	return name, p.o.FS.Rename(temp, name)
}

// sequence returns the number after which the next segment is numbered.
func (p *plan) sequence() uint64 {
	if p.offset > p.next {
		return p.segments[len(p.segments)-1].Sequence
	}
	last := uint64(0)
	for _, s := range slices.Concat(p.stale, p.segments) {
		last = max(last, s.Sequence)
	}
	return last
}

// log tells what a person should know.
func (p *plan) log() {
	r, log := &p.report, p.o.Logger.With("dir", p.o.Dir)
	if r.TornBytes > 0 {
		log.Warn("wal: cut a torn tail off", "file", r.TornFile, "bytes", r.TornBytes)
	}
	for _, fault := range r.Faults {
		log.Error("wal: salvaged", "fault", fault)
	}
	for _, missing := range r.Missing {
		log.Error("wal: rows are missing", "rows", missing.String())
	}
	if r.Entries > 0 {
		log.Info("wal: replayed", "entries", r.Entries, "rows", r.Rows, "bytes", r.Bytes, "took", r.Took)
	}
}
