package layout

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

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

// ReadIdentity reads bucket.json. Up to version 0.4 it was text, and as it never changes, buckets of that age have it still.
func ReadIdentity(filesystem vfs.FS, path string) (id [16]byte, err error) {
	text, _, err := statefile.ReadOrText(filesystem, path, maxIdentityBytes)
	if err != nil {
		return id, fmt.Errorf("engine: read identity: %w", err)
	}
	var have identity
	if err := json.Unmarshal(text, &have); err != nil {
		return id, fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, path, err)
	}
	// A bucket of a later version, perhaps: it is no damage, and nothing of it is touched.
	if have.Format != formatVersion {
		return id, fmt.Errorf("engine: %s has format %d, this version reads format %d", path, have.Format, formatVersion)
	}
	b, err := hex.DecodeString(have.ID)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %s: the identity %q is not %d bytes in hexadecimal", engine.ErrCorrupt, path, have.ID, len(id))
	}
	return [16]byte(b), nil
}

// WriteIdentity writes the identity of a new bucket.
func WriteIdentity(filesystem vfs.FS, path string, id [16]byte) error {
	text, err := json.Marshal(identity{Format: formatVersion, ID: hex.EncodeToString(id[:])})
	if err != nil {
		return fmt.Errorf("engine: make identity: %w", err)
	}
	if err := statefile.Write(filesystem, path, text); err != nil {
		return fmt.Errorf("engine: write identity: %w", err)
	}
	return nil
}
