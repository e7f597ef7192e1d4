package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

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
	step time.Duration // between entries

	mu      sync.Mutex
	entries []timed
}

type timed struct {
	Rows int64     `json:"rows"`
	Time time.Time `json:"time"`
}

// open reads the file, which may be missing. What cannot be read is as if it were.
func (t *times) open() error {
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
	t.mu.Lock()
	defer t.mu.Unlock()
	// A copy, so that memory keeps what the file has where it cannot be written.
	entries := slices.DeleteFunc(slices.Clone(t.entries), func(e timed) bool { return e.Rows <= first })
	// The last one moves on until it is a step away from the one before: the newest rows are in it,
	// however many flushes bring them.
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

// maxTimesBytes is more than times.json ever has.
const maxTimesBytes = 1 << 20
