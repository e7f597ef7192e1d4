package bucket

import (
	"fmt"
	"sort"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// retain removes the oldest rows that the options do not keep: all of them when
// exact, and else once they are worth it, and then gives their space back.
func (up *upkeep) retain(exact bool) error {
	// What is not in the table cannot be removed from it, and counts.
	if exact && up.opts.bounded() {
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
		cut, err := up.cutOf(before, up.rows.acknowledgedRows(), true) // of what is there by now
		if err != nil {
			return nil, err
		}
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
	size := snapshot.DataBytes()
	used, err := snapshot.BytesFrom(0)
	snapshot.Release() // or a clean-up would keep its files
	if err != nil {
		return fmt.Errorf("engine: retention: %w", err)
	}
	up.table.Reshaping.Lock()
	defer up.table.Reshaping.Unlock()
	if size-used > used/retentionWaste {
		return up.compactNow(false)
	}
	return up.table.Clean()
}

// retentionCut returns the offset below which rows are to be removed now; 0 is none.
func (up *upkeep) retentionCut(exact bool) (int64, error) {
	if !up.opts.bounded() || up.writable() != nil {
		return 0, nil
	}
	snapshot := up.table.Newest()
	if snapshot == nil {
		return 0, nil
	}
	defer snapshot.Release()
	return up.cutOf(snapshot, up.rows.acknowledgedRows(), exact)
}

// cutOf is retentionCut for a version of the table of a bucket that ends at end.
func (up *upkeep) cutOf(s *lance.Snapshot, end int64, exact bool) (cut int64, err error) {
	o := &up.opts
	over := func(have, bound int64) bool {
		excess := have - bound
		return excess > 0 && (exact || excess > bound/retentionSlack)
	}
	if o.RetentionRows > 0 {
		rows := s.Rows() + end - s.NextRowID()
		if over(rows, o.RetentionRows) {
			excess := rows - o.RetentionRows
			cut, err = firstWhere(s, func(id int64) (bool, error) {
				rank, _, _, err := s.Place(id)
				return rank >= excess, err
			})
		}
	}
	if err == nil && o.RetentionBytes > 0 {
		var bytes, at int64
		bytes, err = s.BytesFrom(0)
		if err == nil && over(bytes, o.RetentionBytes) {
			at, err = firstWhere(s, func(id int64) (bool, error) {
				left, err := s.BytesFrom(id)
				return left <= o.RetentionBytes, err
			})
			cut = max(cut, at)
		}
	}
	if err == nil && o.RetentionAge > 0 {
		cut = max(cut, up.flusher.times.before(time.Now().Add(-o.RetentionAge)))
	}
	if err != nil {
		return 0, fmt.Errorf("engine: retention: %w", err)
	}
	// Where all of these are removed already there is nothing to do: a removal of nothing would be a version, and each version a
	// manifest that the next clean-up has to remove.
	_, first, _, err := s.Place(0)
	if cut = min(cut, s.NextRowID()); err != nil || cut <= first {
		return 0, err
	}
	return cut, nil
}

// firstWhere returns the first row id for which a predicate holds that holds for
// all after it, or the next row id.
func firstWhere(s *lance.Snapshot, holds func(int64) (bool, error)) (id int64, err error) {
	n := sort.Search(int(s.NextRowID()), func(i int) bool {
		if err != nil {
			return true
		}
		var yes bool
		yes, err = holds(int64(i))
		return yes
	})
	return int64(n), err
}

// recoverTimes reads how old rows are. Those that nothing is known of are taken to
// be as old as the newest version of the table.
func (up *upkeep) recoverTimes() {
	err := up.flusher.times.open()
	if err == nil && up.flusher.times.step > 0 && up.rows.checkpoint > up.flusher.times.known() {
		var commits []lance.Commit
		if commits, err = up.table.Commits(); err == nil {
			at := time.Now()
			if n := len(commits); n > 0 {
				at = commits[n-1].Time
			}
			err = up.flusher.times.note(up.rows.checkpoint, 0, at)
		}
	}
	if err != nil {
		up.logger.Error("rows will be kept longer than retention_age asks for", "error", err)
	}
}

// ageTicker ticks as often as rows can become too old; nil when they cannot.
func (up *upkeep) ageTicker() *time.Ticker {
	if up.flusher.times.step == 0 {
		return nil
	}
	// An age of milliseconds must not cost a processor, and with one of weeks a look costs nothing: once a minute it notices that the
	// clock was set or that the machine slept.
	return time.NewTicker(min(max(up.flusher.times.step, 10*time.Millisecond), time.Minute))
}
