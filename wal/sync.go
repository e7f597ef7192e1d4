package wal

import (
	"context"
	"time"

	"github.com/persisting/persisting/wal/segment"
)

// Sync returns when everything appended before is on disk.
func (l *Log) Sync(ctx context.Context) error {
	if l.o.SyncInterval == 0 {
		return l.Wait(ctx, l.Appended())
	}
	// By the writer, so that what was appended before is written: a sync of the file alone would
	// miss the queue.
	return l.call(ctx, func() error {
		err := l.syncActive()
		if err != nil {
			err = l.fail(err)
		}
		return err
	})
}

// syncActive brings what was written so far to the disk, beside a writer that goes on: see segment.Segment.Sync.
func (l *Log) syncActive() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.active == nil {
		return nil
	}
	return l.timedSync(l.active)
}

// timedSync brings what was written of s to the disk; l.syncMu is held.
func (l *Log) timedSync(s *segment.Segment) error {
	began := time.Now()
	synced, err := s.Sync()
	if synced && l.o.Observer.Synced != nil {
		l.o.Observer.Synced(time.Since(began))
	}
	return err
}

// syncInBackground is the goroutine of a log with a SyncInterval.
func (l *Log) syncInBackground() {
	defer l.syncer.Done()
	l.contain(l.syncRegularly)
}

// syncRegularly waits for a write, then for the interval, then syncs: no write waits longer than the interval for its sync, and a log
// to which nothing is written syncs nothing.
func (l *Log) syncRegularly() {
	timer := time.NewTimer(0) // stopped, and set for each write
	<-timer.C
	for {
		select {
		case <-l.dirty:
		case <-l.stop:
			return
		}
		// From the first write on, and not from the last sync: a put after a long silence waits no
		// longer than one among many.
		timer.Reset(l.o.SyncInterval)
		select {
		case <-timer.C:
		case <-l.stop:
			timer.Stop()
			return
		}
		if err := l.syncActive(); err != nil {
			_ = l.fail(err)
			return
		}
	}
}
