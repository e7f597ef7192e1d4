package layout

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
)

// Path returns the path, without links, of the bucket in dir, which must be one.
func Path(dir string) (string, error) {
	dir, err := statefile.RealPath(dir)
	if err != nil {
		return "", fmt.Errorf("engine: path of bucket: %w", err)
	}
	if err := CheckForeign(dir); err != nil {
		return "", err
	}
	for _, part := range []string{IdentityFile, table.Dir, LogDir} {
		if _, err := os.Lstat(filepath.Join(dir, part)); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: %s has none of %s, %s and %s", engine.ErrNoBucket, dir, IdentityFile, table.Dir, LogDir)
}
