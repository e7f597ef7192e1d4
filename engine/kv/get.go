package kv

import (
	"math"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
)

// load reads one block into the pieces, whose lengths make total.
func (s *Store) load(o *owner, key []byte, pieces [][]byte, total int64) int8 {
	busy := int(s.loading.Add(1))
	defer s.loading.Add(-1)
	waiting, _ := s.mover.Loads.Length()
	l, result := s.lend(o, key, total, func(g *segment, want blob.Want) error {
		helpers := s.processors - busy - waiting
		if g.Away(want) && s.passes(o.hash(key)) {
			return g.ReadPast(want, pieces, helpers)
		}
		return g.Read(want, pieces, helpers)
	})
	if result != transfer.OK {
		return result
	}
	l.segment.leave()
	s.stats.hits.Add(1)
	s.stats.readBytes.Add(total)
	return transfer.OK
}

// passes says whether a block that is not in memory is read past the page cache, which is the faster way. One that was a short time
// ago is read from the disk again and again, and is better kept in memory by the system.
func (s *Store) passes(hash uint64) bool {
	if s.passed.has(hash) {
		return false
	}
	s.passed.add(hash)
	return true
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
	each := max(keysEach, (len(keys)+s.processors-1)/s.processors)
	var others sync.WaitGroup
	for from := each; from < len(keys); from += each {
		others.Go(func() { s.existsEach(o, keys[from:min(from+each, len(keys))], upTo, lengths[from:]) })
	}
	s.existsEach(o, keys[:min(each, len(keys))], upTo, lengths)
	others.Wait()
	return nil
}

// keysEach is how many keys are worth another processor.
const keysEach = 2048

func (s *Store) existsEach(o *owner, keys [][]byte, upTo uint32, lengths []int64) {
	for i, key := range keys {
		lengths[i] = s.exists(o, key, upTo)
	}
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

// Hash is by what Renew knows a key.
func (s *Store) Hash(space uint32, key []byte) (uint64, error) {
	o, err := s.space(space)
	if err != nil {
		return 0, err
	}
	return o.hash(key), nil
}

// Renew gives the block of a hash a lease, if there is one. Who keeps many leases alive needs no keys for that.
func (s *Store) Renew(hash uint64, lease time.Duration) {
	upTo := s.leaseUpTo(lease)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, _ := s.look(t, hash); e != nil {
		e.lease = max(e.lease, upTo)
	}
}
