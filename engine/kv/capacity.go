package kv

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine/blob"
)

// Evict forgets what is worth least until the directory takes no more than that many bytes. Sets that follow fill it again.
func (s *Store) Evict(bytes int64) error {
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	n := limit(bytes, s.blobs)
	if n < minSegments {
		return fmt.Errorf("%w: %d bytes are to be left, want at least %d for segments of %d bytes",
			ErrInvalid, bytes, leastBytes(s.blobs), s.blobs.SegmentBytes)
	}
	if err := s.shrink(n); err != nil {
		return fmt.Errorf("kv: evict down to %d bytes: %w", bytes, err)
	}
	return nil
}

// leastBytes is the least capacity there can be.
func leastBytes(b *blob.Store) int64 { return (minSegments + 1) * b.SegmentBytes }

// limit is the number of segments for a capacity, beside what checkpoint and journal may take.
func limit(capacity int64, b *blob.Store) int {
	return int(capacity / (b.SegmentBytes + 3*entryBytes*int64(b.MaxBlocks())))
}

// shrink empties and removes segments until there are no more than limit.
func (s *Store) shrink(limit int) error {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	s.rings.most = max(s.rings.limit, s.rings.total())
	defer func() { s.rings.most = s.rings.limit }()
	for s.rings.over(limit) {
		s.collect()
		g := s.rings.pop(0)
		if g == nil {
			if s.rings.leavingCount() > 0 {
				return fmt.Errorf("%w: some are read at this moment", errFull)
			}
			if err := s.recycle(); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(g.Close(), s.blobs.Remove(g.Slot)); err != nil {
			return err
		}
		s.setSegment(g.Slot, nil)
		s.rings.made(-1)
	}
	return nil
}
