package layout

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

// The parts of a bucket's directory, beside those of its table.
const (
	IdentityFile  = "bucket.json"
	ConsumersFile = "consumers.json"
	TimesFile     = "times.json"
	RingFile      = "puts.ring"
	LogDir        = "wal"
)

// Consumers is the register of the offsets that consumers of the bucket in dir committed; the marker of its table knows whether
// there is one.
func Consumers(filesystem vfs.FS, dir string, m *table.Marker) *statefile.Register {
	return statefile.NewRegister(filesystem, filepath.Join(dir, ConsumersFile), "the offsets that consumers committed", 0, m.Consumed())
}

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
