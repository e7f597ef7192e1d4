package table

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// ReadForeign returns the rows of a Lance table that is no bucket's, and how many they
// are: those of its newest version that were not deleted, in the order of its fragments.
// It changes nothing. The error is [ErrNoTable] where there is none.
func ReadForeign(dir string) (*Cursor, int64, error) {
	snapshot, err := lance.OpenForeign(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w in %s: it has no _versions/*.manifest", engine.ErrNoTable, dir)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("engine: read table: %w", err)
	}
	c, err := Answer(snapshot, snapshot.Release, Query{}, nil)
	return c, snapshot.Rows(), err
}
