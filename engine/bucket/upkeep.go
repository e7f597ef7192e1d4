package bucket

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
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

// Compact removes the rows that retention does not keep, merges small fragments of
// the table, gives back the space of removed rows and columns, lets the indexes take
// in the rows that they lack, and removes the versions and files that nothing needs
// any more. Appends, flushes and reads go on.
func (b *Bucket) Compact() error {
	if err := b.upkeep.retain(true); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.upkeep.compactNow(true)
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
	if made, err := up.table.Made(); err != nil || !made {
		return err
	}
	started := time.Now()
	err := up.table.Merge(thorough)
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
	if len(behind) == 0 && (err == nil || errors.Is(err, engine.ErrClosed)) {
		return err
	}
	if err == nil {
		err = up.table.ExtendIndexes(behind)
	}
	up.ended(metrics.Index, false, began, err)
	return err
}

// compactLoop removes what retention does not keep, compacts when there are too
// many fragments or versions, and lets the indexes follow.
func (up *upkeep) compactLoop() {
	var tick <-chan time.Time
	if ticker := up.ageTicker(); ticker != nil {
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
		up.retainInBackground()
		up.doDue()
	}
}

// doDue does what is due, and says in the log what went wrong.
func (up *upkeep) doDue() {
	up.table.Reshaping.Lock()
	defer up.table.Reshaping.Unlock()
	if up.table.Untidy(up.opts.CompactFragments) {
		_ = up.compactNow(false) // logs by itself
		return
	}
	_ = up.extendIndexes(table.IndexRows) // logs by itself
}
