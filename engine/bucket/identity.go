package bucket

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// identity is the content of bucket.json.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
}

const formatVersion = 1

// maxIdentityBytes is more than bucket.json ever has.
const maxIdentityBytes = 4 << 10

// readIdentity reads bucket.json.
func readIdentity(filesystem vfs.FS, path string) (id [16]byte, err error) {
	text, err := statefile.Whole(filesystem, path, maxIdentityBytes)
	if err != nil {
		return id, fmt.Errorf("engine: read identity: %w", err)
	}
	var have identity
	if err := json.Unmarshal(text, &have); err != nil {
		return id, fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, path, err)
	}
	if have.Format != formatVersion {
		return id, fmt.Errorf("engine: %s has format %d, this version reads format %d", path, have.Format, formatVersion)
	}
	b, err := hex.DecodeString(have.ID)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %s: the identity %q is not %d bytes in hexadecimal", engine.ErrCorrupt, path, have.ID, len(id))
	}
	return [16]byte(b), nil
}

// baptise writes bucket.json for a new bucket.
func (b *Bucket) baptise() error {
	if err := writeIdentity(b.home.FS, b.identityPath(), b.id); err != nil {
		return err
	}
	// A directory above that this process may not read was there before.
	if err := b.home.FS.SyncDir(filepath.Dir(b.home.Path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("engine: write identity: %w", err)
	}
	return nil
}

func writeIdentity(filesystem vfs.FS, path string, id [16]byte) error {
	text, err := json.Marshal(identity{Format: formatVersion, ID: hex.EncodeToString(id[:])})
	if err != nil {
		return fmt.Errorf("engine: make identity: %w", err)
	}
	if err := statefile.WriteText(filesystem, path, append(text, '\n')); err != nil {
		return fmt.Errorf("engine: write identity: %w", err)
	}
	return nil
}
