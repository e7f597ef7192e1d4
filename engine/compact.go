package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/persisting/persisting/engine/lance"
)

// Compact merges small fragments of the table and removes the versions and
// files that nothing needs any more. Appends, flushes and reads go on.
func (b *Bucket) Compact() error {
	if b.closing.Load() {
		return ErrClosed
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	b.mu.Lock()
	table, base, closed := b.table, b.snapshot, b.closed
	if base != nil {
		base.Retain()
	}
	b.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case base == nil:
		return nil
	}
	defer base.Release()
	started := time.Now()
	err := b.merge(table, base)
	if err == nil {
		err = b.clean(table)
	}
	if b.metrics != nil {
		if err != nil {
			b.metrics.CompactErrors.Inc()
		} else {
			b.metrics.CompactSecs.Observe(time.Since(started).Seconds())
		}
	}
	return err
}

func (b *Bucket) merge(table *lance.Table, base *lance.Snapshot) error {
	snapshot, _, err := table.Compact(lance.CompactOptions{})
	if err != nil {
		return fmt.Errorf("engine: compact: %w", err)
	}
	if snapshot.Version() == base.Version() {
		snapshot.Release()
		return nil
	}
	if err := b.syncTable(base, snapshot); err != nil {
		snapshot.Release()
		b.poisonWith(err)
		return err
	}
	b.publish(snapshot, 0)
	return nil
}

// clean removes the versions that are older than every one that is read.
func (b *Bucket) clean(table *lance.Table) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	keep := b.snapshot.Version()
	for v := range b.pinned {
		keep = min(keep, v)
	}
	b.mu.Unlock()
	if _, err := table.Cleanup(keep); err != nil {
		return fmt.Errorf("engine: remove old versions: %w", err)
	}
	return nil
}

// compactLoop compacts when a flush has made too many fragments.
func (b *Bucket) compactLoop() {
	defer b.workers.Done()
	for {
		select {
		case <-b.stop:
			return
		case <-b.tidy:
		}
		if err := b.Compact(); err != nil && !errors.Is(err, ErrClosed) {
			b.logger.Error("compaction failed", "error", err)
		}
	}
}
