package bucket

import (
	"errors"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
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
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.compactNow(true)
}

// compactNow leaves alone, unless thorough, as when a caller asks for it, what
// little space it could give back. The caller holds b.table.Reshaping.
func (b *Bucket) compactNow(thorough bool) error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.home.Fault(); err != nil {
		return err
	}
	if made, err := b.table.Made(); err != nil || !made {
		return err
	}
	started := time.Now()
	err := b.table.Merge(thorough)
	if err == nil {
		err = b.extendIndexes(1)
	}
	if err == nil {
		err = b.table.Clean()
	}
	b.ended(metrics.Compaction, thorough, started, err)
	return err
}

// extendIndexes lets those indexes take in new rows that lack enough of them, and
// least at least. The caller holds b.table.Reshaping.
func (b *Bucket) extendIndexes(least int64) error {
	began := time.Now()
	behind, err := b.table.IndexesBehind(b.checkpointed(), least)
	if len(behind) == 0 && (err == nil || errors.Is(err, engine.ErrClosed)) {
		return err
	}
	if err == nil {
		err = b.table.ExtendIndexes(behind)
	}
	b.ended(metrics.Index, false, began, err)
	return err
}

// checkpointed is the number of rows that are in the table.
func (b *Bucket) checkpointed() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checkpoint
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
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	if b.table.Untidy(b.opts.CompactFragments) {
		_ = b.compactNow(false) // logs by itself
		return
	}
	_ = b.extendIndexes(table.IndexRows) // logs by itself
}
