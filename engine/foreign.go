package engine

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine/lance"
)

// ForeignError is returned for a directory that holds a Lance table which no bucket
// has made. It matches [ErrNoBucket].
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("engine: %s is no bucket: the Lance table %s in it was written by another program, such as persisting 0.3.0, whose rows have no lasting offsets; it is left as it is: give the bucket another directory, and import the rows into it", e.Path, tableDir)
}

// Unwrap returns ErrNoBucket.
func (e *ForeignError) Unwrap() error { return ErrNoBucket }

// foreign returns a [*ForeignError] for a directory with a table and nothing else of
// a bucket. A bucket that has lost its identity has more than that.
func foreign(dir string) error {
	if !lance.Exists(filepath.Join(dir, tableDir)) {
		return nil
	}
	for _, part := range []string{identityFile, markFile, sumsFile, consumersFile, tagsFile, timesFile, ringFile, logDir} {
		if _, err := os.Lstat(filepath.Join(dir, part)); err == nil {
			return nil
		}
	}
	return &ForeignError{Path: dir}
}
