package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

const (
	// retentionSlack is the part of a bound by which a bucket may exceed it before
	// the background work removes rows, and the part of the age by which they may
	// be older: each removal makes a version of the table.
	retentionSlack = 8

	// retentionWaste is the part of the rows in the table that those removed may
	// take in its files before they are rewritten.
	retentionWaste = 4
)

// retain removes the oldest rows that the options do not keep: all of them when
// exact, and else once they are worth it, and then gives their space back.
func (up *upkeep) retain(exact bool) error {
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
	// Where all of these are removed already there is nothing to do.
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

// retainInBackground is retain for the background work, which says in the log
// what went wrong.
func (up *upkeep) retainInBackground() {
	if err := up.retain(false); err != nil && !errors.Is(err, engine.ErrClosed) {
		up.failed(metrics.Compaction, err)
		up.logger.Error("rows that retention does not keep were not removed", "error", err)
	}
}

// maxTimesBytes is more than times.json ever has.
const maxTimesBytes = 1 << 20

// times is the file times.json: how old rows are. It is kept while there is a
// bound on their age, and replaced as a whole.
//
// Each entry says that the rows below an offset were in the table by some time.
// All but the last are a step apart, so there are few. An
// entry that is lost makes rows seem younger, and never older.
type times struct {
	fs   vfs.FS
	path string
	step time.Duration // between entries; 0 when they are not kept

	mu      sync.Mutex
	entries []timed
}

type timed struct {
	Rows int64     `json:"rows"`
	Time time.Time `json:"time"`
}

// open reads the file, which may be missing. What cannot be read is as if it were.
func (t *times) open() error {
	if t.step == 0 {
		return nil
	}
	text, err := statefile.Whole(t.fs, t.path, maxTimesBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &t.entries)
	}
	if err != nil {
		t.entries = nil
		return fmt.Errorf("engine: read times of rows: %w", err)
	}
	return nil
}

// known returns the offset below which the age of rows is known.
func (t *times) known() (rows int64) {
	for _, e := range t.entries {
		rows = max(rows, e.Rows)
	}
	return rows
}

// note says that the rows below an offset are in the table now, and that those
// below first are removed.
func (t *times) note(rows, first int64, now time.Time) error {
	if t.step == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	entries := slices.DeleteFunc(slices.Clone(t.entries), func(e timed) bool { return e.Rows <= first })
	if n := len(entries); n > 1 && now.Sub(entries[n-2].Time).Abs() < t.step {
		entries = entries[:n-1]
	}
	entries = append(entries, timed{rows, now.UTC()})
	text, err := json.Marshal(entries)
	if err == nil {
		err = statefile.WriteText(t.fs, t.path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("engine: write times of rows: %w", err)
	}
	t.entries = entries
	return nil
}

// before returns the offset below which all rows were in the table by then.
func (t *times) before(then time.Time) (rows int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if !e.Time.After(then) {
			rows = max(rows, e.Rows)
		}
	}
	return rows
}

func timesIn(filesystem vfs.FS, dir string, age time.Duration) times {
	step := age / (2 * retentionSlack) // for the entries, and for the looks at them
	return times{fs: filesystem, path: filepath.Join(dir, layout.TimesFile), step: step}
}

// noteTimes notes that the rows below an offset are in the table.
func (fl *flusher) noteTimes(rows int64) {
	if fl.times.step == 0 {
		return
	}
	if err := fl.times.note(rows, fl.rows.state().first, time.Now()); err != nil {
		fl.logger.Error("rows will be kept longer than retention_age asks for", "error", err)
	}
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
	return time.NewTicker(min(max(up.flusher.times.step, 10*time.Millisecond), time.Minute))
}
