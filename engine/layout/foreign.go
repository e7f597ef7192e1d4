package layout

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// ForeignError is returned for a directory that holds a Lance table which no bucket
// has made. It matches [engine.ErrNoBucket].
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("engine: %s is no bucket: the Lance table %s in it was written by another program, such as persisting 0.3.0, whose rows have no lasting offsets; it is left as it is: give the bucket another directory; `persisting import BUCKET %s` brings the rows in", e.Path, table.Dir, filepath.Join(e.Path, table.Dir))
}

// Unwrap returns engine.ErrNoBucket.
func (e *ForeignError) Unwrap() error { return engine.ErrNoBucket }

// CheckForeign returns a [*ForeignError] for a directory with a table and nothing else of
// a bucket. A bucket that has lost its identity has more than that.
func CheckForeign(dir string) error {
	if !lance.Exists(filepath.Join(dir, table.Dir)) {
		return nil
	}
	for _, part := range []string{IdentityFile, table.MarkFile, table.SumsFile, table.TagsFile, ConsumersFile, TimesFile, RingFile, MarksDir, LogDir} {
		if _, err := os.Lstat(filepath.Join(dir, part)); err == nil {
			return nil
		}
	}
	return &ForeignError{Path: dir}
}
