package bucket

import (
	"errors"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
)

// compactLoop removes what retention does not keep, compacts when there are too
// many fragments or versions, and lets the indexes follow.
func (up *upkeep) compactLoop() {
	var tick <-chan time.Time
	if ticker := up.flusher.retention.Ticker(); ticker != nil {
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-up.stop:
			return
		case <-up.compactRequested:
		case <-tick:
		}
		up.retainInBackground() // first: what is removed need not be merged
		up.doDue()
	}
}

// doDue does what is due, and says in the log what went wrong.
func (up *upkeep) doDue() {
	// For all that is due at once: a caller that compacts would find half of the work done, and do
	// it again.
	up.table.Reshaping.Lock()
	defer up.table.Reshaping.Unlock()
	// One or the other: a compaction extends the indexes itself.
	if up.table.Untidy(up.opts.CompactFragments) {
		_ = up.compactNow(false) // logs by itself
		return
	}
	_ = up.extendIndexes(table.IndexRows) // logs by itself
}

// retainInBackground is retain for the background work, which says in the log
// what went wrong.
func (up *upkeep) retainInBackground() {
	if err := up.retain(false); err != nil && !errors.Is(err, engine.ErrClosed) {
		up.failed(metrics.Compaction, err)
		up.logger.Error("rows that retention does not keep were not removed", "error", err)
	}
}
