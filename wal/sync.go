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
	return l.call(ctx, func() error {
		err := l.syncActive()
		if err != nil {
			err = l.fail(err)
		}
		return err
	})
}

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

func (l *Log) syncRegularly() {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-l.dirty:
		case <-l.stop:
			return
		}
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
