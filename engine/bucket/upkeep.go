package bucket

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
)

// upkeep keeps the table small: it merges fragments, lets the indexes follow, and removes what retention does not keep.
// table.Reshaping is held for each of these.
type upkeep struct {
	*core
	rows     *rows
	flusher  *flusher
	retained struct{ rows, bytes atomic.Int64 } // that retention has removed
}

// compactNow leaves alone, unless thorough, as when a caller asks for it, what
// little space it could give back. The caller holds up.table.Reshaping.
func (up *upkeep) compactNow(thorough bool) error {
	if up.closing.Load() {
		return engine.ErrClosed
	}
	if err := up.home.Fault(); err != nil {
		return err
	}
	// Nothing was flushed yet, or the bucket was closed.
	if made, err := up.table.Made(); err != nil || !made {
		return err
	}
	// After the looks that end it early: a compaction that was none is not counted.
	started := time.Now()
	err := up.table.Merge(thorough)
	// Indexes next, whatever little they lack; then the clean-up, which takes away the files that both have made needless.
	if err == nil {
		err = up.extendIndexes(1)
	}
	if err == nil {
		err = up.table.Clean()
	}
	up.ended(metrics.Compaction, thorough, started, err)
	return err
}

// extendIndexes lets those indexes take in new rows that lack enough of them, and
// least at least. The caller holds up.table.Reshaping.
func (up *upkeep) extendIndexes(least int64) error {
	began := time.Now()
	behind, err := up.table.IndexesBehind(up.rows.checkpointed(), least)
	// Most looks find nothing to do, and are no work to tell of.
	if len(behind) == 0 && (err == nil || errors.Is(err, engine.ErrClosed)) {
		return err
	}
	if err == nil {
		err = up.table.ExtendIndexes(behind)
	}
	up.ended(metrics.Index, false, began, err)
	return err
}
