package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// apply makes the directory what the plan says and returns the segments that stay. Every step leaves a directory from which
// another plan comes to the same end.
func (p *plan) apply() ([]*segment, error) {
	if err := p.o.FS.MkdirAll(p.o.Dir); err != nil {
		return nil, err
	}
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
				return nil, fmt.Errorf("wal: salvage of %s: %w", s.path, err)
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
	segments := make([]*segment, len(p.segments))
	for i, s := range p.segments {
		segments[i] = &segment{
			path: s.path, head: s.head, preamble: s.read.preamble, next: s.read.offset,
			end: s.read.pos, chain: s.read.chain, closed: s.read.closed, sealed: s.read.sealed,
		}
	}
	last := segments[len(segments)-1]
	if last.closed {
		return segments, nil
	}
	return segments, last.finish(p.o.FS, kindClosed)
}

// settle brings to the disk what a process that was killed may have left in the memory of the system, all of which the plan has
// seen: names, entries of the last segment, the end mark of the one before.
func (p *plan) settle() error {
	if err := p.o.FS.SyncDir(p.o.Dir); err != nil {
		return err
	}
	for _, s := range p.segments[max(0, len(p.segments)-2):] {
		if s.filler {
			continue
		}
		f, err := p.o.FS.Open(s.path)
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
		if i > 0 && i == len(segments)-1 {
			if err := p.o.FS.SyncDir(p.o.Dir); err != nil {
				return err
			}
		}
		if err := p.o.FS.Remove(s.path); err != nil {
			return err
		}
		p.report.Removed = append(p.report.Removed, s.path)
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
	kind := uint32(kindClosed)
	if i < len(p.segments)-1 {
		kind = kindSealed
	}
	h := header{
		bucket: p.o.Bucket, sequence: s.sequence, base: s.head.base, salt: p.o.salt(), flags: flagSalvaged,
		capacity: headerBytes + 2*span(int64(len(r.preamble))),
	}
	if i > 0 {
		before := p.segments[i-1].read
		h.base, h.prevEnd, h.prevChain = before.offset, before.pos, before.chain
	}
	for _, e := range r.kept {
		h.capacity += e.to - e.from
	}
	fill := func(made *segment) error {
		if err := p.copyEntries(made, s); err != nil {
			return err
		}
		made.next = r.offset
		return made.mark(kind)
	}
	aside := func() error {
		if s.filler {
			return nil
		}
		name, err := p.copyAside(s)
		p.report.Broken = append(p.report.Broken, name)
		return err
	}
	made, err := makeSegment(p.o, h, r.preamble, fill, aside)
	if err != nil {
		return err
	}
	s.head, r.pos, r.chain, r.closed, r.sealed = h, made.end, made.chain, made.closed, made.sealed
	s.fault = nil
	return made.drop()
}

// copyEntries appends the entries of a damaged segment that can be read.
func (p *plan) copyEntries(made *segment, s *found) error {
	if len(s.read.kept) == 0 {
		return nil
	}
	f, err := p.o.FS.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	from := &scan{win: window{file: f, size: s.size, patient: true}, path: s.path, head: s.head, maxBytes: p.o.MaxEntryBytes}
	head := make([]byte, recordBytes)
	for _, e := range s.read.kept {
		for at := e.from; at < e.to; {
			r, payload, err := from.read(at)
			if err != nil {
				return err
			}
			at += span(r.length)
			r.body, r.promise = bodySum(payload), made.end
			r.encode(head, made.end, made.head.salt)
			if err := made.file.WriteAt([][]byte{head, payload, zeros[:padding(r.length)]}, made.end); err != nil {
				return err
			}
			made.end += span(r.length)
			made.chain = extend(made.chain, head)
		}
	}
	return nil
}

// copyAside copies a damaged file to a free name that ends in .broken. Sectors that cannot be read become 0xff bytes.
func (p *plan) copyAside(s *found) (string, error) {
	name := s.path + brokenSuffix
	for n := 1; ; n++ {
		_, err := p.o.FS.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s%s.%d", s.path, brokenSuffix, n)
	}
	source, err := p.o.FS.Open(s.path)
	if err != nil {
		return "", err
	}
	defer source.Close()
	temp := s.path + brokenSuffix + tempSuffix
	target, err := p.o.FS.Create(temp)
	if err != nil {
		return "", err
	}
	w := &window{file: source, size: s.size, patient: true}
	for at := w.skip(0); at < s.size && err == nil; at = w.skip(at) {
		var b []byte
		if b, err = w.at(at, min(s.size-at, chunkBytes)); err == nil {
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
		return p.segments[len(p.segments)-1].sequence
	}
	last := uint64(0)
	for _, s := range slices.Concat(p.stale, p.segments) {
		last = max(last, s.sequence)
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
