package kv

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
)

// put stores one block, whose set has that number among those of its key. What makes a set unnecessary is looked at before what
// makes it impossible, so that bytes that are there already are a success also on a disk that takes no writes.
func (s *Store) put(o *owner, key []byte, pieces [][]byte, length uint32, ttl time.Duration, number uint64) int8 {
	hash := o.hash(key)
	if ref, page := s.same(o, hash, key, pieces, length); ref != noRef && s.confirm(hash, ref, page, number) {
		s.stats.setPresent.Add(1)
		return transfer.Present
	}
	if s.isSick() {
		s.stats.setFailed.Add(1)
		return transfer.Failed
	}
	known := s.ghosts.has(hash)
	if s.o.Admission == "second_hit" && !known && s.sketch.seen(hash) == 0 {
		s.stats.setRefused.Add(1)
		return transfer.Refused
	}
	g, page, err := s.reserve(s.policy.first(known), length)
	if err != nil {
		return s.noRoom(err)
	}
	defer g.endWrite()
	h := blob.Header{
		Sequence: s.sequence.Add(1), Written: s.o.Now().UnixNano(), Length: length, Expires: s.expiry(ttl),
		Namespace: o.namespace, Salt: o.salt, Key: key,
	}
	err = g.Write(page, &h, pieces)
	if err == nil && s.o.Sync == "each" {
		err = g.Sync()
	}
	if err == nil {
		e := entry{hash: hash, page: page, length: length, sum: h.Sum, expires: h.Expires, state: o.number | liveBit}
		err = s.publish(g, h.Sequence, e, number)
	}
	if err != nil {
		s.discard(g, page, h.Sequence, hash)
		g.Return(page, length)
		s.sicken("store a block", err)
		s.stats.setFailed.Add(1)
		return transfer.Failed
	}
	s.stats.sets.Add(1)
	s.stats.writtenBytes.Add(blob.TakenBytes(length))
	return transfer.OK
}

// discard makes sure that a block that is not that of its key, but may be whole on the disk, is not found by the next opening.
func (s *Store) discard(g *segment, page uint32, sequence, hash uint64) {
	if g.MarkDead(page) != nil {
		s.doubts.add(hash, sequence)
	}
}

// noRoom counts a set for which there was no room.
func (s *Store) noRoom(err error) int8 {
	switch {
	case errors.Is(err, errTooLong):
		s.stats.setRefused.Add(1)
		return transfer.TooLong
	case errors.Is(err, errFull):
		s.stats.setFull.Add(1)
		return transfer.Full
	}
	s.sicken("find room", err)
	s.stats.setFailed.Add(1)
	return transfer.Failed
}

// expiry is when a block ends that is set now.
func (s *Store) expiry(ttl time.Duration) uint32 {
	if ttl <= 0 {
		ttl = time.Duration(s.o.TTL * float64(time.Second))
	}
	if ttl <= 0 {
		return 0
	}
	at := s.o.Now().Add(ttl + time.Second - 1).Unix()
	return uint32(min(at, math.MaxUint32))
}

// same finds the block of a key if it has these bytes, else noRef: the checksums are compared, and then the bytes themselves, so
// that nothing else is ever taken for them.
func (s *Store) same(o *owner, hash uint64, key []byte, pieces [][]byte, length uint32) (ref, page uint32) {
	t := s.index.shard(hash)
	t.mu.Lock()
	e, ref := s.look(t, hash)
	if e == nil || e.length != length {
		t.mu.Unlock()
		return noRef, 0
	}
	page, sum := e.page, e.sum
	g := s.segmentOf(ref)
	g.users.Add(1)
	t.mu.Unlock()
	defer g.leave()
	if blob.Checksum(pieces) != sum {
		return noRef, 0
	}
	stored := make([]byte, length)
	if err := g.Read(blob.Want{Page: page, Length: length, Namespace: o.namespace, Key: key}, [][]byte{stored}, 0); err != nil {
		return noRef, 0 // it is written again
	}
	for _, p := range pieces {
		if !bytes.Equal(p, stored[:len(p)]) {
			return noRef, 0
		}
		stored = stored[len(p):]
	}
	return ref, page
}

// confirm ends a set of bytes that are there already, unless another set has replaced them meanwhile. It takes its number's turn
// as one that has written would: an earlier set of other bytes that ends later loses.
func (s *Store) confirm(hash uint64, ref, page uint32, number uint64) bool {
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e := s.lookAt(t, hash, ref, page)
	if e == nil {
		return false
	}
	s.read(e)
	s.ordersOf(hash).wins(hash, number)
	return true
}

// publish makes a block that is written whole the one of its key. The journal comes before the index: what can be read was noted,
// and a crash does not bring back what it has replaced.
func (s *Store) publish(g *segment, sequence uint64, e entry, number uint64) error {
	stripe := &s.keys[e.hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	if !s.ordersOf(e.hash).wins(e.hash, number) {
		s.discard(g, e.page, sequence, e.hash)
		return nil // as if it had been replaced at once
	}
	if err := s.notePublish(g, sequence, &e); err != nil {
		return err
	}
	t := s.index.shard(e.hash)
	t.mu.Lock()
	i := s.index.find(t, e.hash)
	var before *segment
	var page uint32
	if i >= 0 {
		old := s.index.entry(t.refs[i])
		before, page = s.segmentOf(t.refs[i]), old.page
		before.users.Add(1)
		s.dropLocked(t, before, old)
	}
	s.insertLocked(t, g, e)
	t.mu.Unlock()
	if before != nil {
		s.markDead(before, page)
	}
	return nil
}
