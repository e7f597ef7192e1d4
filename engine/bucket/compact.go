package bucket

import (
	"errors"
	"fmt"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
)

// Compact removes the rows that retention does not keep, merges small fragments of
// the table, gives back the space of removed rows and columns, lets the indexes take
// in the rows that they lack, and removes the versions and files that nothing needs
// any more. Appends, flushes and reads go on.
func (b *Bucket) Compact() error {
	if err := b.retain(true); err != nil {
		return err
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	return b.compactNow(true)
}

// compactNow leaves alone, unless thorough, as when a caller asks for it, what
// little space it could give back. The caller holds b.compacting.
func (b *Bucket) compactNow(thorough bool) error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.home.Fault(); err != nil {
		return err
	}
	table, _, err := b.committed()
	if err != nil || table == nil {
		return err
	}
	started := time.Now()
	err = b.merge(table, thorough)
	if err == nil {
		err = b.extendIndexes(1)
	}
	if err == nil {
		err = b.clean(table)
	}
	b.ended(metrics.Compaction, thorough, started, err)
	return err
}

// mergeAttempts is how often a compaction begins anew when a flush has changed
// the columns meanwhile.
const mergeAttempts = 5

func (b *Bucket) merge(table *lance.Table, thorough bool) error {
	for more := true; more; {
		var stats lance.CompactStats
		snapshot, err := b.change(func() (snapshot *lance.Snapshot, err error) {
			for range mergeAttempts {
				snapshot, stats, err = table.Compact(lance.CompactOptions{Thorough: thorough})
				if !errors.Is(err, lance.ErrConflict) {
					break
				}
			}
			if err != nil {
				err = fmt.Errorf("engine: compact: %w", err)
			}
			return snapshot, err
		})
		if err != nil {
			return err
		}
		b.tidied.fragments = int64(snapshot.Fragments())
		b.publish(snapshot, 0)
		more = thorough && stats.More
	}
	return nil
}

// clean removes the versions that are neither the newest nor read nor tagged, and
// their files.
func (b *Bucket) clean(table *lance.Table) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	newest := b.newest()
	defer newest.Release()
	if err := b.checkRefs(); err != nil {
		return err
	}
	if _, err := b.allTags(); err != nil { // what they name must stay
		return err
	}
	if err := b.home.Owned(); err != nil {
		return err
	}
	if _, err := table.Cleanup(newest.Version()); err != nil {
		return fmt.Errorf("engine: remove old versions: %w", err)
	}
	if err := b.sums.trim(); err != nil {
		b.logger.Warn("checksums of files that are gone were kept", "error", err)
	}
	b.tidied.version = newest.Version()
	return nil
}

// untidy says whether fragments or versions have piled up. Fragments that the last
// compaction left, because they are large or no two are alike, do not count as
// new. The caller holds b.compacting.
func (b *Bucket) untidy() bool {
	newest := b.newest()
	if newest == nil {
		return false
	}
	defer newest.Release()
	n := b.opts.CompactFragments
	if n == 0 {
		return false
	}
	fragments := int64(newest.Fragments())
	return fragments >= max(n, b.tidied.fragments+(n+1)/2) || newest.Version()-b.tidied.version >= uint64(4*n)
}

// compactLoop removes what retention does not keep, compacts when there are too
// many fragments or versions, and lets the indexes follow.
func (b *Bucket) compactLoop() {
	var tick <-chan time.Time
	if ticker := b.ageTicker(); ticker != nil {
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-b.stop:
			return
		case <-b.tidy:
		case <-tick:
		}
		b.retainInBackground()
		b.upkeep()
	}
}

// upkeep does what is due, and says in the log what went wrong.
func (b *Bucket) upkeep() {
	b.compacting.Lock()
	defer b.compacting.Unlock()
	if b.untidy() {
		_ = b.compactNow(false) // logs by itself
		return
	}
	_ = b.extendIndexes(indexRows) // logs by itself
}
