package statefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persisting/persisting/engine"
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
	// ErrDamaged is returned for a file whose bytes are not those that were written. It is an [engine.ErrCorrupt].
	ErrDamaged = fmt.Errorf("%w: a file is damaged", engine.ErrCorrupt)

	// ErrVersion is returned for a file that a later version of the program wrote.
	ErrVersion = errors.New("statefile: file has an unknown format version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write replaces a file as a whole, durably, by one that has a checksum. When it fails, the file is as it was, or has the new content.
func Write(fsys vfs.FS, path string, content []byte) error {
	header := make([]byte, headerBytes)
	copy(header, magic)
	binary.LittleEndian.PutUint32(header[12:], version)
	binary.LittleEndian.PutUint64(header[16:], uint64(len(content)))
	// Version and length are in the sum, magic is not: without that it is no file of ours to begin
	// with.
	sum := crc32.Update(crc32.Checksum(header[12:], castagnoli), castagnoli, content)
	binary.LittleEndian.PutUint32(header[8:], sum)
	return Replace(fsys, path, func(f vfs.File) error {
		if err := f.WriteAt([][]byte{header, content}, 0); err != nil {
			return err
		}
		return f.Sync()
	})
}

// WriteText is Write for a file that has its own form.
func WriteText(fsys vfs.FS, path string, text []byte) error {
	return WriteTextVia(fsys, path+".tmp", path, text)
}

// WriteTextVia is WriteText with the name that the file has before it is whole.
func WriteTextVia(fsys vfs.FS, temporary, path string, text []byte) error {
	return replace(fsys, temporary, path, func(f vfs.File) error {
		if err := f.WriteAt([][]byte{text}, 0); err != nil {
			return err
		}
		return f.Sync()
	})
}

// Replace gives a path to a file that write has filled and synced: the old file is there until the new one is whole and named.
func Replace(fsys vfs.FS, path string, write func(vfs.File) error) error {
	return replace(fsys, path+".tmp", path, write)
}

func replace(fsys vfs.FS, temporary, path string, write func(vfs.File) error) error {
	f, err := fsys.Create(temporary)
	if err != nil {
		return fmt.Errorf("statefile: replace: %w", err)
	}
	// Whole and on the disk before it gets the name: a crash leaves the old file or the new one,
	// and a file with the other name, which the next Replace writes over.
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("statefile: write %s: %w", temporary, errors.Join(err, fsys.Remove(temporary)))
	}
	if err := fsys.Rename(temporary, path); err != nil {
		return fmt.Errorf("statefile: replace: %w", errors.Join(err, fsys.Remove(temporary)))
	}
	// The new name may be there or not after a power failure until this returns, and either file is
	// whole. So an error here does not undo it.
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("statefile: replace %s: %w", path, err)
	}
	return nil
}

// Sum is the CRC-32C of a line of text, in hexadecimal.
func Sum(line []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(line, castagnoli)) }

// Read returns the content of a file. An error matches fs.ErrNotExist, [ErrDamaged] or [ErrVersion], or is of the disk.
func Read(fsys vfs.FS, path string) ([]byte, error) {
	whole, err := Whole(fsys, path, maxBytes)
	if err != nil {
		return nil, err
	}
	return unwrap(path, whole)
}

// ReadOrText is Read of a file of at most limit bytes that versions up to 0.4 wrote as plain text: where it does not begin as one of
// ours, it is that text. Whoever reads it judges the text, and writes it in our format when it next changes.
func ReadOrText(fsys vfs.FS, path string, limit int64) (content []byte, isText bool, err error) {
	whole, err := Whole(fsys, path, limit)
	if err != nil || !bytes.HasPrefix(whole, []byte(magic)) {
		return whole, true, err
	}
	content, err = unwrap(path, whole)
	return content, false, err
}

// unwrap returns the content of a file that was read as a whole.
func unwrap(path string, whole []byte) ([]byte, error) {
	if len(whole) < headerBytes || string(whole[:8]) != magic {
		return nil, fmt.Errorf("%w: %s does not begin as one", ErrDamaged, path)
	}
	if crc32.Checksum(whole[12:], castagnoli) != binary.LittleEndian.Uint32(whole[8:]) {
		return nil, fmt.Errorf("%w: %s does not have its checksum", ErrDamaged, path)
	}
	// After the sum, so that a damaged version is not taken for that of a later program.
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
	// Only now that the size is one that can be: a damaged directory must not take all memory.
	whole := make([]byte, size)
	n, err := f.ReadAt(whole, 0)
	if n < len(whole) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("statefile: read %s: %w", path, err)
	}
	return whole[:n], nil // fewer where it is cut short at this moment
}

// KeepBroken gives a file or directory, which may be missing, a free name that
// ends in .broken.
func KeepBroken(path string) error {
	name := path + ".broken"
	for n := 1; ; n++ {
		// An older copy stays: it may have what this one has lost.
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			break
		}
		name = fmt.Sprintf("%s.broken.%d", path, n)
	}
	err := vfs.OS.Rename(path, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, vfs.OS.SyncDir(filepath.Dir(path)))
}
