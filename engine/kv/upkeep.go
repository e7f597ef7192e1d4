package kv

import (
	"errors"
	"time"
)

// start begins the background work.
func (s *Store) start() {
	s.mover.Start(s.runLoad, s.runStore, s.o.Workers)
	if !s.o.manual && !s.o.ReadOnly {
		s.mover.Go(s.upkeep)
	}
}

// checkpointEvery is the longest time that what a journal has not is unsaved.
const checkpointEvery = 30 * time.Second

// upkeep does once a second what nobody waits for.
func (s *Store) upkeep() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.keepUp()
		}
	}
}

// keepUp is one turn of upkeep. What fails is logged and tried again a second later: nobody waits for it who could be told.
func (s *Store) keepUp() {
	if s.o.Sync == "interval" {
		if err := errors.Join(s.syncSegments(), s.catalog.sync()); err != nil {
			s.o.Logger.Warn("sync failed", "error", err)
		}
	}
	pending, broken := s.catalog.state()
	if broken || pending > s.journalLimit() || pending > 0 && s.o.Now().Sub(s.lastCheckpoint()) > checkpointEvery {
		if err := s.checkpoint(false); err != nil {
			s.o.Logger.Warn("checkpoint failed", "error", err)
		}
	}
}

// Flush brings all that was set to the disk.
func (s *Store) Flush() error {
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	return errors.Join(s.syncSegments(), s.catalog.sync())
}

// Close ends the store: blocks that are read or written now end, submitted ones that have not begun fail. What was set is
// brought to the disk. Closing twice is an [ErrClosed].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	s.metrics.Close()
	close(s.stop)
	s.mover.Stop()
	s.alive.Lock()
	defer s.alive.Unlock()
	if s.o.ReadOnly {
		return s.release()
	}
	return errors.Join(s.checkpoint(true), s.release())
}

// release lets go of all files. The lock is the last, so that who opens the store next finds nobody writing.
func (s *Store) release() error {
	err := s.catalog.close()
	for _, g := range s.allSegments() {
		err = errors.Join(err, g.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Release())
	}
	return err
}
