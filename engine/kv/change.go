package kv

import (
	"errors"
	"fmt"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// change holds a key, so that no set and no move of it comes between, and has f change its entry under the lock of the shard. What
// f returns writes that down once the shard is free, for which the disk may be waited for; nil says that there is no such key.
func (s *Store) change(space uint32, key []byte, f func(t *shard, hash uint64) (note func() error, err error)) (bool, error) {
	if err := s.enterChange(); err != nil {
		return false, err
	}
	defer s.exit()
	o, err := s.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	note, err := f(t, hash)
	t.mu.Unlock()
	if err != nil || note == nil {
		return false, err
	}
	return true, note()
}

// Delete removes a key, and has the sets of it lose that are on their way.
func (s *Store) Delete(space uint32, key []byte) (bool, error) {
	return s.change(space, key, func(t *shard, hash uint64) (func() error, error) {
		s.ordersOf(hash).overtake(hash)
		e, ref := s.look(t, hash)
		if e == nil && s.doubts.has(hash) {
			return nil, errDoubt
		}
		if e == nil {
			return nil, nil
		}
		g, page := s.segmentOf(ref), e.page
		g.users.Add(1) // until the mark is there
		s.dropLocked(t, g, e)
		return func() error {
			// The journal comes first, as in publish: after a crash no index names a block that is marked.
			err := s.catalog.append(frameDead, placeContent(g, page))
			s.markDead(g, page)
			s.stats.deleted.Add(1)
			if err != nil {
				return s.failed("note that a block is deleted", err)
			}
			return nil
		}, nil
	})
}

// Touch counts an access without reading, and sets when the block expires if ttl is not 0. Without that no disk is waited for.
func (s *Store) Touch(space uint32, key []byte, ttl time.Duration) (bool, error) {
	if ttl <= 0 {
		return s.touch(space, key)
	}
	return s.adjust(space, key, func(e *entry) error {
		s.read(e)
		e.expires = s.expiry(ttl)
		return nil
	})
}

func (s *Store) touch(space uint32, key []byte) (bool, error) {
	o, err := s.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, _ := s.look(t, hash)
	if e == nil {
		return false, nil
	}
	s.read(e)
	return true, nil
}

// Pin keeps a block until Unpin, whatever else is forgotten. It fails with [ErrPinned].
func (s *Store) Pin(space uint32, key []byte) (bool, error) {
	return s.adjust(space, key, func(e *entry) error {
		taken := blob.TakenBytes(e.length)
		if e.pinned() {
			return nil
		}
		if s.pinned.Load()+taken > s.o.CapacityBytes/2 {
			return fmt.Errorf("%w: %d bytes are pinned", ErrPinned, s.pinned.Load())
		}
		s.pinned.Add(taken)
		e.state |= pinnedBit
		return nil
	})
}

// Unpin ends what Pin began.
func (s *Store) Unpin(space uint32, key []byte) (bool, error) {
	return s.adjust(space, key, func(e *entry) error {
		if e.pinned() {
			s.pinned.Add(-blob.TakenBytes(e.length))
			e.state &^= pinnedBit
		}
		return nil
	})
}

// adjust has f change fields of the entry of a key that the journal has as well.
func (s *Store) adjust(space uint32, key []byte, f func(*entry) error) (bool, error) {
	return s.change(space, key, func(t *shard, hash uint64) (func() error, error) {
		e, ref := s.look(t, hash)
		if e == nil {
			return nil, nil
		}
		if err := f(e); err != nil {
			return nil, err
		}
		content := changeContent(s.segmentOf(ref), e)
		return func() error {
			if err := s.catalog.append(frameChange, content); err != nil {
				return s.failed("note a change", err)
			}
			return nil
		}, nil
	})
}

// DropNamespace removes all keys of a namespace, whatever their salt, durably, and returns how many there were.
func (s *Store) DropNamespace(namespace string) (int64, error) {
	if err := s.enterChange(); err != nil {
		return 0, err
	}
	defer s.exit()
	of := map[uint32]bool{}
	for _, o := range s.owners.all() {
		if o.namespace == namespace {
			of[o.number] = true
		}
	}
	var dropped int64
	for _, g := range s.allSegments() {
		dropped += s.dropOwners(g, of)
	}
	if err := s.noteDropped(namespace); err != nil {
		return dropped, s.failed("drop a namespace", err)
	}
	return dropped, nil
}

func (s *Store) dropOwners(g *segment, of map[uint32]bool) (dropped int64) {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	for i := range g.entryCount() {
		e := g.entries.at(i)
		t := s.index.shard(e.hash)
		t.mu.Lock()
		if e.live() && of[e.owner()] {
			s.dropLocked(t, g, e)
			dropped++
		}
		t.mu.Unlock()
	}
	return dropped
}

// noteDropped makes sure that no block of a namespace that was written up to now is found again.
func (s *Store) noteDropped(namespace string) error {
	s.checkpointing.Lock()
	if s.identity.Dropped == nil {
		s.identity.Dropped = map[string]uint64{}
	}
	s.identity.Dropped[namespace] = s.sequence.Load()
	err := s.saveIdentity()
	s.checkpointing.Unlock()
	return errors.Join(err, s.checkpoint(false))
}
