package layout

import (
	"path/filepath"

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
	MarksDir      = "marks"
)

// Consumers is the register of the offsets that consumers of the bucket in dir committed; the marker of its table knows whether
// there is one.
func Consumers(filesystem vfs.FS, dir string, m *table.Marker) *statefile.Register {
	return statefile.NewRegister(filesystem, filepath.Join(dir, ConsumersFile), "the offsets that consumers committed", 0, m.Consumed())
}
