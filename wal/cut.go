package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/persisting/persisting/wal/segment"
)

// Cut removes the segments all of whose rows are below before, which the table must hold on disk. When that is all of them the
// directory is left empty, and the next entry begins a segment.
func (l *Log) Cut(before int64) error {
	if acked := l.Acknowledged(); before > acked {
		return fmt.Errorf("%w: %d of %d", errCutBeyond, before, acked)
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	if err := l.cutOld(before); err != nil {
		return err
	}
	// The newest is the writer's. Behind all that was queued before, so that the writer is in no
	// entry of it, and finds no segment where it goes on after that.
	return l.call(context.Background(), func() error { return l.cutNewest(before) })
}

// cutOld removes segments that nobody writes to. They go for good before the newest does: what a crash leaves is the end of the
// log, not its front.
func (l *Log) cutOld(before int64) error {
	l.listMu.Lock()
	old := 0
	for old < len(l.segments)-1 && l.segments[old].Next() <= before {
		old++
	}
	// With its own end, as the list goes on to grow in the same array.
	gone := l.segments[:old:old]
	l.listMu.Unlock()
	if old == 0 {
		return nil
	}
	// One by one, and without listMu, under which no disk is waited for: where a removal fails, the list says what is left.
	for _, s := range gone {
		if err := l.o.FS.Remove(s.Path()); err != nil {
			return fmt.Errorf("wal: cut: %w", err)
		}
		l.size.Add(-s.End())
		l.listMu.Lock()
		l.segments = l.segments[1:]
		l.listMu.Unlock()
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return fmt.Errorf("wal: cut: %w", err)
	}
	return nil
}

// dropActive closes the segment that is written to; syncMu keeps the background sync from it.
func (l *Log) dropActive(s *segment.Segment) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.active = nil
	return s.Drop()
}

// cutNewest removes the last segment; it runs on the writer goroutine.
func (l *Log) cutNewest(before int64) error {
	s := l.newest()
	// Entries that came since the caller chose what to cut are in it, perhaps.
	if s == nil || s.Next() > before {
		return nil
	}
	// First the note, then the file. A crash between leaves a log that nobody asks for, which is read; the other way round it would
	// leave a note of a log that is not there, which is taken for a loss.
	if err := l.o.Standing(false); err != nil {
		return l.fail(fmt.Errorf("wal: cut: %w", err))
	}
	if err := l.o.FS.Remove(s.Path()); err != nil {
		return fmt.Errorf("wal: cut: %w", err)
	}
	l.listMu.Lock()
	l.segments = nil
	l.listMu.Unlock()
	l.size.Add(-s.End())
	err := l.dropActive(s)
	// Were the file to come back after a crash, the segment that is made next would not continue it.
	if err = errors.Join(err, l.o.FS.SyncDir(l.o.Dir)); err != nil {
		return l.fail(fmt.Errorf("wal: cut: %w", err))
	}
	return nil
}

var errCutBeyond = errors.New("wal: cut beyond the acknowledged rows")
