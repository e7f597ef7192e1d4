package trajectory

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/sheet"
	"github.com/persisting/persisting/engine/statefile"
)

const (
	sheetsDir = "sheets"

	// lookInterval is how often the sheets are looked at, for steps that nobody sent since the look before: they are in the log after
	// twice that time at most.
	lookInterval = 500 * time.Millisecond
)

// Sheet makes a sheet for steps of those columns, so many of them and so many bytes of the values of each column of any length. The
// putter finds it at the path.
func (s *Store) Sheet(columns *arrow.Schema, rows, heap int64) (_ *Sheet, path string, err error) {
	if s.o.ReadOnly {
		return nil, "", fmt.Errorf("%w: the store takes no steps", engine.ErrReadOnly)
	}
	if rows < 1 || rows > sheet.MaxRows || heap < 0 || heap > sheet.MaxBytes {
		return nil, "", invalid("a sheet of %d rows and %d bytes, want 1 to %d and 0 to %d", rows, heap, sheet.MaxRows, sheet.MaxBytes)
	}
	for _, f := range columns.Fields() {
		if err := checkType(f); err != nil {
			return nil, "", err
		}
	}
	dir := filepath.Join(s.dir, sheetsDir)
	if err := s.o.FS.MkdirAll(dir); err != nil {
		return nil, "", err
	}
	x := &s.sheets
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, "", engine.ErrClosed
	}
	path = filepath.Join(dir, fmt.Sprintf("%06d", x.made))
	file, err := sheet.Create(path, columns, rows, heap)
	if err != nil {
		return nil, "", err
	}
	x.made++
	h := &Sheet{of: x, file: file, path: path}
	x.open[h] = true
	x.begin.Do(func() { x.worker.Go(s.lookAtSheets) })
	return h, path, nil
}

// takeRows stores rows of a sheet.
func (s *Store) takeRows(file *sheet.Sheet, from, to int64) error {
	number, first, err := file.Place()
	if err != nil {
		return err
	}
	rows, err := file.Rows(from, to)
	if err != nil {
		return err
	}
	defer rows.Release()
	_, err = s.Append(number, first+from, rows, false)
	return err
}

// TakeSheet stores the steps of the content of a sheet, which a putter has that cannot reach the file of it, or whose file is gone.
// They are acknowledged as by [Store.Append], whose errors it has.
func (s *Store) TakeSheet(content []byte) error {
	file, err := sheet.Parse(content)
	if err != nil {
		return invalid("the content of a sheet: %w", err)
	}
	if file == nil {
		return invalid("the content of a sheet is of another boot of the machine; another writer of the episode goes on at its next step")
	}
	return s.takeRows(file, 0, file.Count())
}

// refused returns an error, but for one that tells that the steps of a sheet are none that the store can ever take: that another
// attempt has come, or other steps are in their places. Their writer is gone, or would have been told.
func (s *Store) refused(path string, err error) error {
	columns := (*engine.SchemaError)(nil)
	if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrNotFound) && !errors.As(err, &columns) {
		return err
	}
	s.o.Logger.Warn("steps that were not sent are given up", "sheet", path, "cause", err)
	return nil
}

// lookAtSheets stores what lies in the sheets for long.
func (s *Store) lookAtSheets() {
	for {
		select {
		case <-s.sheets.stop:
			return
		case <-time.After(lookInterval):
		}
		for _, h := range s.sheets.all() {
			if err := h.look(); err != nil {
				// Its writer is told by its next send, which tries the same steps again.
				s.o.Logger.Debug("steps stay in their sheet", "sheet", h.path, "cause", err)
			}
		}
	}
}

// recoverSheets stores what a process left in its sheets.
func (s *Store) recoverSheets() error {
	dir := filepath.Join(s.dir, sheetsDir)
	names, err := s.o.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if !strings.HasSuffix(name, ".tmp") { // of a creation that was cut short
			if err := s.recoverSheet(path); err != nil {
				return fmt.Errorf("trajectory: sheet %s: %w", path, err)
			}
		}
		if err := s.o.FS.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) recoverSheet(path string) error {
	content, err := statefile.Whole(s.o.FS, path, sheet.MaxBytes)
	if err != nil {
		return err
	}
	file, err := sheet.Parse(content)
	if err == nil && file != nil {
		err = s.refused(path, s.takeRows(file, 0, file.Count()))
	}
	if errors.Is(err, sheet.ErrDamaged) {
		return fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	return err
}
