package statefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"

	"github.com/persisting/persisting/vfs"
)

const (
	// What follows never changes: it is how a file is told from others and its version from damage.
	magic       = "\x89PSTA\r\n\x1a"
	headerBytes = 24
	version     = 1

	// maxBytes is more than any state file has; a larger one is damaged.
	maxBytes = 1 << 30
)

var (
	// ErrDamaged is returned for a file whose bytes are not those that were written.
	ErrDamaged = errors.New("statefile: file is damaged")

	// ErrVersion is returned for a file that a later version of the program wrote.
	ErrVersion = errors.New("statefile: file has an unknown format version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write replaces a file as a whole, durably. When it fails, the file is as it was, or has the new content.
func Write(fsys vfs.FS, path string, content []byte) error {
	header := make([]byte, headerBytes)
	copy(header, magic)
	binary.LittleEndian.PutUint32(header[12:], version)
	binary.LittleEndian.PutUint64(header[16:], uint64(len(content)))
	sum := crc32.Update(crc32.Checksum(header[12:], castagnoli), castagnoli, content)
	binary.LittleEndian.PutUint32(header[8:], sum)
	return Replace(fsys, path, func(f vfs.File) error {
		if err := f.WriteAt([][]byte{header, content}, 0); err != nil {
			return err
		}
		return f.Sync()
	})
}

// Replace gives a path to a file that write has filled and synced: the old file is there until the new one is whole and named.
func Replace(fsys vfs.FS, path string, write func(vfs.File) error) error {
	temporary := path + ".tmp"
	f, err := fsys.Create(temporary)
	if err != nil {
		return fmt.Errorf("statefile: replace: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("statefile: write %s: %w", temporary, errors.Join(err, fsys.Remove(temporary)))
	}
	if err := fsys.Rename(temporary, path); err != nil {
		return fmt.Errorf("statefile: replace: %w", errors.Join(err, fsys.Remove(temporary)))
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("statefile: replace %s: %w", path, err)
	}
	return nil
}

// Read returns the content of a file. An error matches fs.ErrNotExist, [ErrDamaged] or [ErrVersion], or is of the disk.
func Read(fsys vfs.FS, path string) ([]byte, error) {
	whole, err := Whole(fsys, path, maxBytes)
	if err != nil {
		return nil, err
	}
	if len(whole) < headerBytes || string(whole[:8]) != magic {
		return nil, fmt.Errorf("%w: %s does not begin as one", ErrDamaged, path)
	}
	if crc32.Checksum(whole[12:], castagnoli) != binary.LittleEndian.Uint32(whole[8:]) {
		return nil, fmt.Errorf("%w: %s does not have its checksum", ErrDamaged, path)
	}
	if v := binary.LittleEndian.Uint32(whole[12:]); v != version {
		return nil, fmt.Errorf("%w: %s has version %d, want %d", ErrVersion, path, v, version)
	}
	if n := binary.LittleEndian.Uint64(whole[16:]); n != uint64(len(whole)-headerBytes) {
		return nil, fmt.Errorf("%w: %s holds %d bytes, want %d", ErrDamaged, path, len(whole)-headerBytes, n)
	}
	return whole[headerBytes:], nil
}

// Whole reads a file of at most limit bytes; a larger one is damaged.
func Whole(fsys vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, fmt.Errorf("statefile: read: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("statefile: read %s: %w", path, err)
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, want at most %d", ErrDamaged, path, size, limit)
	}
	whole := make([]byte, size)
	if n, err := f.ReadAt(whole, 0); int64(n) < size {
		return nil, fmt.Errorf("statefile: read %s: %w", path, err)
	}
	return whole, nil
}
