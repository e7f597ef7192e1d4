package bucket

import (
	"fmt"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/retention"
)

// retain removes the oldest rows that the options do not keep: all of them when
// exact, and else once they are worth it, and then gives their space back.
func (up *upkeep) retain(exact bool) error {
	// What is not in the table cannot be removed from it, and counts.
	if exact && up.flusher.retention.Bounded() {
		if err := up.flusher.flush(false); err != nil {
			return err
		}
	}
	cut, err := up.retentionCut(exact)
	if err != nil || cut == 0 {
		return err
	}
	var bytes int64
	rows, err := up.flusher.removeFlushed(func(t *lance.Table, before *lance.Snapshot) (*lance.Snapshot, error) {
		// Once more, under the locks: the first look was without them, and a caller may have
		// removed rows since.
		cut, err := up.flusher.retention.Cut(before, up.rows.acknowledgedRows(), time.Now(), true) // of what is there by now
		if err != nil {
			return nil, err
		}
		// The version that is there, unchanged: nothing is to be removed any more.
		if cut == 0 {
			return t.Snapshot()
		}
		all, err := before.BytesFrom(0)
		if err != nil {
			return nil, err
		}
		kept, err := before.BytesFrom(cut)
		if err != nil {
			return nil, err
		}
		bytes = all - kept
		return t.DeleteBefore(cut)
	})
	if err != nil {
		return err
	}
	// Since the bucket was opened, for the metrics; the table does not say why rows went.
	up.retained.rows.Add(rows)
	up.retained.bytes.Add(bytes)
	up.logger.Debug("removed rows that retention does not keep", "rows", rows, "bytes", bytes)
	if exact {
		return nil // the compaction that called goes on
	}
	return up.reclaim()
}

// reclaim gives back the space of removed rows: of whole files at once, of parts
// of them when that is worth it.
func (up *upkeep) reclaim() error {
	snapshot := up.table.Newest()
	if snapshot == nil {
		return engine.ErrClosed
	}
	// Of all files of the version, those parts among them whose rows are gone.
	size := snapshot.DataBytes()
	used, err := snapshot.BytesFrom(0)
	snapshot.Release() // or a clean-up would keep its files
	if err != nil {
		return fmt.Errorf("engine: retention: %w", err)
	}
	up.table.Reshaping.Lock()
	defer up.table.Reshaping.Unlock()
	if retention.Wasteful(size, used) {
		return up.compactNow(false)
	}
	return up.table.Clean()
}

// retentionCut returns the offset below which rows are to be removed now; 0 is none.
func (up *upkeep) retentionCut(exact bool) (int64, error) {
	if !up.flusher.retention.Bounded() || up.writable() != nil {
		return 0, nil
	}
	snapshot := up.table.Newest()
	if snapshot == nil {
		return 0, nil
	}
	defer snapshot.Release()
	return up.flusher.retention.Cut(snapshot, up.rows.acknowledgedRows(), time.Now(), exact)
}

// recoverTimes reads how old rows are.
func (up *upkeep) recoverTimes() {
	err := up.flusher.retention.Open(up.rows.checkpoint, func() (time.Time, error) {
		commits, err := up.table.Commits()
		if n := len(commits); n > 0 {
			return commits[n-1].Time, err
		}
		return time.Now(), err
	})
	if err != nil {
		up.logger.Error("rows will be kept longer than retention_age asks for", "error", err)
	}
}
