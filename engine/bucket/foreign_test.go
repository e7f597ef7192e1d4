package bucket

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
)

// TestForeignTable has a directory with a Lance table that is no bucket's: it is told
// for what it is, and left as it is.
func TestForeignTable(t *testing.T) {
	dir := t.TempDir()
	rec := someRows(t, 0, 5)
	defer rec.Release()
	table, err := lance.Create(filepath.Join(dir, table.Dir), numbered, lance.Config{}, rec)
	must(t, err)
	must(t, table.Close())
	for _, lock := range []bool{false, true} { // which an earlier try may have left
		if lock {
			must(t, os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o644))
		}
		before := tree(t, dir)
		for name, call := range map[string]func() error{
			"open": func() error { _, err := Open(dir, quiet()); return err },
			"open, salvaging": func() error {
				_, err := Open(dir, quiet(func(o *options.Options) { o.WALRecovery = "salvage" }))
				return err
			},
			"examine":      func() error { _, err := inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true}); return err },
			"repair":       func() error { _, err := inspect.Repair(dir, true, Salvage); return err },
			"open to read": func() error { _, err := OpenReadOnly(dir, quiet()); return err },
		} {
			if err := call(); !errors.As(err, new(*layout.ForeignError)) || !errors.Is(err, engine.ErrNoBucket) || !strings.Contains(err.Error(), dir+" is no bucket") {
				t.Errorf("%s: %v", name, err)
			}
			sameTree(t, before, tree(t, dir))
		}
	}
}

// TestUnmadeTable opens a directory with what Lance leaves where its table is removed
// while it is made: files of data and no version.
func TestUnmadeTable(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, table.Dir, "data")
	must(t, os.MkdirAll(data, 0o755))
	must(t, os.WriteFile(filepath.Join(data, "0123.lance"), []byte("half"), 0o644))
	b := open(t, dir, quiet())
	appendRows(t, b, 3)
	must(t, b.Flush())
	wantRows(t, b, 3)
}
