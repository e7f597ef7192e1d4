package kv

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// Open opens the store of a directory, which is made if it is missing. It waits for the disk. It fails with an [OptionError], a
// [*engine.LockedError] or an error of the disk; damage costs misses, not the opening.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.CapacityBytes == 0 {
		o.CapacityBytes = lastCapacity(o.FS, dir)
	}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return look(dir, o)
	}
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	s := newStore(dir, o)
	if !o.unlocked {
		var err error
		if s.lock, err = statefile.Hold(dir); err != nil {
			return nil, fmt.Errorf("kv: open: %w", err)
		}
		if err := s.lock.Sign(); err != nil {
			return nil, errors.Join(fmt.Errorf("kv: open: %w", err), s.lock.Release())
		}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.start()
	if o.Metrics != nil {
		s.metrics = o.Metrics.Store(absolute(dir), s.metricsState)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.identify(); err != nil {
		return err
	}
	s.rings.limit = limit(s.o.CapacityBytes, s.blobs)
	if s.rings.limit < minSegments {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, want at least %d for segments of %d bytes",
			s.o.CapacityBytes, leastBytes(s.blobs), s.blobs.SegmentBytes)}}
	}
	if uint64(s.rings.limit+1)*uint64(s.index.perSegment) >= uint64(noRef) {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, too much for segments of %d bytes", s.o.CapacityBytes, s.blobs.SegmentBytes)}}
	}
	known, err := s.recover()
	if err != nil {
		return err
	}
	if s.rings.over(s.rings.limit) { // there is a journal for the notes of what is emptied
		if _, err := s.catalog.rotate(); err != nil {
			return err
		}
	}
	if err := s.shrink(s.rings.limit); err != nil {
		return fmt.Errorf("kv: keep to the capacity of %d bytes: %w", s.o.CapacityBytes, err)
	}
	s.checkpointed = s.o.Now()
	if known {
		_, err = s.catalog.rotate() // a checkpoint of many keys takes longer than the opening
	} else {
		err = s.checkpoint(false)
	}
	if err != nil {
		// A disk that is full: what is there can be read.
		s.o.Logger.Warn("nothing can be stored for now", "error", err)
	}
	return nil
}
