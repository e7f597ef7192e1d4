package table

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// mergeAttempts is how often a compaction begins anew when an append has changed
// the columns meanwhile.
// Each attempt may have read and written gigabytes, so it does not go on for ever; the next compaction comes anyway.
const mergeAttempts = 5

// Made says whether there is a table.
func (t *Table) Made() (bool, error) {
	table, _, err := t.committed()
	return table != nil, err
}

// Merge makes large fragments of small ones. Unless thorough it leaves alone what little space it could give back.
// Appends go on. The caller holds t.Reshaping, and there is a table.
func (t *Table) Merge(thorough bool) error {
	for more := true; more; {
		var stats lance.CompactStats
		snapshot, err := t.commit(func() (snapshot *lance.Snapshot, err error) {
			for range mergeAttempts {
				snapshot, stats, err = t.lance().Compact(lance.CompactOptions{Thorough: thorough})
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
		t.tidied.fragments = int64(snapshot.Fragments())
		t.Publish(snapshot) // each step: the files of the one before can go
		// In steps, as each holds its fragments in memory and its old files on the disk; the
		// background does one step, and comes again.
		more = thorough && stats.More
	}
	return nil
}

// Clean removes the versions that are neither the newest nor read nor tagged, and
// their files. The caller holds t.Reshaping.
func (t *Table) Clean() error {
	// No append meanwhile, as no version names its files yet.
	t.Growing.Lock()
	defer t.Growing.Unlock()
	newest := t.Newest()
	if newest == nil {
		return engine.ErrClosed
	}
	defer newest.Release()
	if err := t.checkRefs(); err != nil {
		return err
	}
	if _, err := t.allTags(); err != nil { // what they name must stay
		return err
	}
	if err := t.home.Owned(); err != nil {
		return err
	}
	if _, err := t.lance().Cleanup(newest.Version()); err != nil {
		return fmt.Errorf("engine: remove old versions: %w", err)
	}
	// Right after files went is when lines about them can go.
	if err := t.sums.trim(); err != nil {
		t.o.Logger.Warn("checksums of files that are gone were kept", "error", err)
	}
	t.tidied.version = newest.Version()
	return nil
}

// Untidy says whether so many fragments, or four times as many versions, have piled up. Fragments that the last
// compaction left, because they are large or no two are alike, do not count as
// new. The caller holds t.Reshaping.
func (t *Table) Untidy(fragments int64) bool {
	newest := t.Newest()
	if newest == nil {
		return false
	}
	defer newest.Release()
	n := fragments
	if n == 0 {
		return false
	}
	// Half of the threshold in new fragments, at least: a compaction that found nothing to merge
	// would else be due again after the next flush.
	return int64(newest.Fragments()) >= max(n, t.tidied.fragments+(n+1)/2) || newest.Version()-t.tidied.version >= uint64(4*n)
}
