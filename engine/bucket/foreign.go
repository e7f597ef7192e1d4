package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// ForeignError is returned for a directory that holds a Lance table which no bucket
// has made. It matches [ErrNoBucket].
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("engine: %s is no bucket: the Lance table %s in it was written by another program, such as persisting 0.3.0, whose rows have no lasting offsets; it is left as it is: give the bucket another directory; `persisting import BUCKET %s` brings the rows in", e.Path, table.Dir, filepath.Join(e.Path, table.Dir))
}

// Unwrap returns ErrNoBucket.
func (e *ForeignError) Unwrap() error { return engine.ErrNoBucket }

// foreign returns a [*ForeignError] for a directory with a table and nothing else of
// a bucket. A bucket that has lost its identity has more than that.
func foreign(dir string) error {
	if !lance.Exists(filepath.Join(dir, table.Dir)) {
		return nil
	}
	for _, part := range []string{identityFile, table.MarkFile, table.SumsFile, table.TagsFile, consumersFile, timesFile, ringFile, logDir} {
		if _, err := os.Lstat(filepath.Join(dir, part)); err == nil {
			return nil
		}
	}
	return &ForeignError{Path: dir}
}

// ReadForeign returns the rows of a Lance table that is no bucket's, and how many they
// are: those of its newest version that were not deleted, in the order of its fragments.
// It changes nothing. The error is [ErrNoTable] where there is none.
func ReadForeign(dir string) (*table.Cursor, int64, error) {
	snapshot, err := lance.OpenForeign(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w in %s: it has no _versions/*.manifest", engine.ErrNoTable, dir)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("engine: read table: %w", err)
	}
	c, err := table.Answer(snapshot, snapshot.Release, table.Query{}, nil)
	return c, snapshot.Rows(), err
}
