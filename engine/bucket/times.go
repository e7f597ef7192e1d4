package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

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
	text, _, err := statefile.ReadOrText(t.fs, t.path, maxTimesBytes) // text up to version 0.4
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
		err = statefile.Write(t.fs, t.path, text)
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

const (
	// retentionSlack is the part of a bound by which a bucket may exceed it before
	// the background work removes rows, and the part of the age by which they may
	// be older: each removal makes a version of the table.
	retentionSlack = 8

	// retentionWaste is the part of the rows in the table that those removed may
	// take in its files before they are rewritten.
	retentionWaste = 4
)

// maxTimesBytes is more than times.json ever has.
const maxTimesBytes = 1 << 20
