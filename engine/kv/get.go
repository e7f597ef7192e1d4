package kv

import (
	"errors"
	"math"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// load reads one block into the pieces, whose lengths make total.
func (s *Store) load(o *owner, key []byte, pieces [][]byte, total int64) int8 {
	l, result := s.lend(o, key, total, func(g *segment, want blob.Want) error { return g.Read(want, pieces) })
	if result != OK {
		return result
	}
	l.segment.leave()
	s.stats.hits.Add(1)
	s.stats.readBytes.Add(total)
	return OK
}

// loan is a block that is sent from its segment, in which the caller is a user.
type loan struct {
	segment *segment
	hash    uint64
	ref     uint32
	page    uint32
}

// lend has read look at the block of a key that has total bytes, and lends it where that found nothing wrong. Where another set or
// a delete comes between, what there is after it is looked at: the block that it replaced says that it was, which is no damage.
func (s *Store) lend(o *owner, key []byte, total int64, read func(*segment, blob.Want) error) (loan, int8) {
	hash := o.hash(key)
	t := s.index.shard(hash)
	for {
		t.mu.Lock()
		e, ref := s.look(t, hash)
		if e == nil {
			t.mu.Unlock()
			return loan{}, s.miss(hash)
		}
		if int64(e.length) != total {
			t.mu.Unlock()
			s.stats.missedLength.Add(1)
			return loan{}, Length
		}
		want := blob.Want{Page: e.page, Length: e.length, Namespace: o.namespace, Key: key}
		s.read(e)
		g := s.segmentOf(ref)
		g.users.Add(1)
		t.mu.Unlock()
		err := read(g, want)
		if err == nil {
			return loan{g, hash, ref, want.Page}, OK
		}
		g.leave()
		if s.has(hash, ref, want.Page) {
			return loan{}, s.bad(hash, ref, want.Page, err)
		}
	}
}

// miss counts a key that is not there.
func (s *Store) miss(hash uint64) int8 {
	s.stats.missedAbsent.Add(1)
	if s.o.Admission == "second_hit" {
		s.sketch.seen(hash)
	}
	return Absent
}

// bad counts a block that could not be read and forgets it, so that nobody tries it for ever.
func (s *Store) bad(hash uint64, ref, page uint32, err error) int8 {
	if s.o.ReadOnly && errors.Is(err, blob.ErrBlock) && s.replaced(ref, page) {
		return s.miss(hash)
	}
	s.o.Logger.Warn("a block cannot be read", "error", err)
	result, counter := Failed, &s.stats.missedFailed
	if errors.Is(err, blob.ErrBlock) {
		result, counter = Damaged, &s.stats.missedDamaged
	}
	counter.Add(1)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	e := s.lookAt(t, hash, ref, page)
	if e == nil {
		t.mu.Unlock()
		return result
	}
	g := s.segmentOf(ref)
	note := placeContent(g, page)
	s.dropLocked(t, g, e)
	t.mu.Unlock()
	// After a failure of the disk, the next opening may try it again.
	if result == Failed || s.catalog.append(frameDead, note) != nil {
		s.doubts.add(hash, s.sequence.Load())
	}
	return result
}

// Exists returns the length of a block, -1 where there is none. For lease it is not forgotten. No disk is waited for.
func (s *Store) Exists(space uint32, key []byte, lease time.Duration) (int64, error) {
	o, err := s.space(space)
	if err != nil {
		return -1, err
	}
	return s.exists(o, key, s.leaseUpTo(lease)), nil
}

func (s *Store) leaseUpTo(lease time.Duration) uint32 {
	if lease <= 0 {
		return 0
	}
	return s.tick() + uint32(min(lease/tickLength, math.MaxInt32)) + 1
}

func (s *Store) exists(o *owner, key []byte, upTo uint32) int64 {
	hash := o.hash(key)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, _ := s.look(t, hash)
	if e == nil {
		if s.o.Admission == "second_hit" {
			s.sketch.seen(hash)
		}
		return -1
	}
	e.lease = max(e.lease, upTo)
	return int64(e.length)
}

// ExistsAll is Exists for each key; it fills lengths.
func (s *Store) ExistsAll(space uint32, keys [][]byte, lease time.Duration, lengths []int64) error {
	o, err := s.space(space)
	if err != nil {
		return err
	}
	upTo := s.leaseUpTo(lease)
	for i, key := range keys {
		lengths[i] = s.exists(o, key, upTo)
	}
	return nil
}

// Prefix returns how many keys from the first on exist, and protects them for lease.
func (s *Store) Prefix(space uint32, keys [][]byte, lease time.Duration) (n int, err error) {
	o, err := s.space(space)
	if err != nil {
		return 0, err
	}
	upTo := s.leaseUpTo(lease)
	for n < len(keys) && s.exists(o, keys[n], upTo) >= 0 {
		n++
	}
	return n, nil
}

// renew gives a lease to what a hash refers to.
func (s *Store) renew(hash uint64, upTo uint32) {
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, _ := s.look(t, hash); e != nil {
		e.lease = max(e.lease, upTo)
	}
}
