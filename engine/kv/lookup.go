package kv

import (
	"github.com/persisting/persisting/engine/blob"
)

// read counts an access.
func (s *Store) read(e *entry) {
	if reads := e.reads(); reads < mostReads {
		e.setReads(reads + 1)
	}
}

// look finds the live entry of a hash; nil where there is none. The shard is locked.
func (s *Store) look(t *shard, hash uint64) (e *entry, ref uint32) {
	i := s.index.find(t, hash)
	if i < 0 {
		return nil, noRef
	}
	ref = t.refs[i]
	e = s.index.entry(ref)
	if e.expires != 0 && e.expired(s.seconds()) { // most need no look at the clock
		s.stats.expired.Add(1)
		s.dropLocked(t, s.segmentOf(ref), e)
		return nil, noRef
	}
	return e, ref
}

// has says whether a block is that of its hash still.
func (s *Store) has(hash uint64, ref, page uint32) bool {
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.lookAt(t, hash, ref, page) != nil
}

// lookAt is look for a block that was found before; nil where the hash has another now, or none. The shard is locked.
func (s *Store) lookAt(t *shard, hash uint64, ref, page uint32) *entry {
	if e, now := s.look(t, hash); e != nil && now == ref && e.page == page {
		return e
	}
	return nil
}

// dropLocked takes a live entry out of the index and the accounts.
func (s *Store) dropLocked(t *shard, g *segment, e *entry) {
	if i := s.index.find(t, e.hash); i >= 0 && s.index.entry(t.refs[i]) == e {
		s.index.remove(t, i)
	}
	s.account(g, e, -1)
	e.state &^= liveBit
}

// insertLocked gives a hash that has no entry one.
func (s *Store) insertLocked(t *shard, g *segment, e entry) {
	ref := g.Slot*s.index.perSegment + g.add(e)
	s.index.add(t, e.hash, ref)
	s.account(g, &e, 1)
}

// account adds an entry to what is counted, or takes it away.
func (s *Store) account(g *segment, e *entry, sign int64) {
	taken := sign * blob.TakenBytes(e.length)
	g.live.Add(taken)
	o := s.owners.get(e.owner())
	o.keys.Add(sign)
	o.bytes.Add(taken)
	if e.pinned() {
		s.pinned.Add(taken)
	}
}

// markDead notes beside a block, in whose segment the caller is a user, that it is not wanted any more. It is read only when the
// catalog is lost, which knows it as well.
func (s *Store) markDead(g *segment, page uint32) {
	if err := g.MarkDead(page); err != nil {
		s.o.Logger.Warn("a replaced block cannot be marked", "error", err)
	}
	g.leave()
}

// replaced says whether a block that cannot be read was replaced, deleted or overwritten by the owner of a store that is looked
// at, in place of being damaged.
func (s *Store) replaced(ref, page uint32) bool {
	g := s.segmentOf(ref)
	h, err := g.Header(page)
	return err == nil && h.Dead || g.Refilled()
}
