package vfs_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

// TestDirect writes and reads past the page cache, which is then asked what it has.
func TestDirect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := vfs.OS.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	align := vfs.GoDirect(f)
	if align == 0 {
		t.Skip("the file system has no direct I/O")
	}
	if align > vfs.DirectAlign || align&(align-1) != 0 {
		t.Fatalf("aligned to %d", align)
	}
	const size = 1 << 20
	data, found := vfs.Aligned(size), vfs.Aligned(size)
	for i := range data {
		data[i] = byte(i >> 4)
	}
	if err := f.WriteAt([][]byte{data}, 0); err != nil {
		t.Fatal(err)
	}
	var about unix.Statfs_t
	if err := unix.Statfs(path, &about); err != nil {
		t.Fatal(err)
	}
	if n := vfs.Cached(f, 0, size); about.Type == unix.EXT4_SUPER_MAGIC && n != 0 && n != size {
		t.Errorf("%d bytes are in the page cache", n)
	}
	if err := vfs.ReadPieces(f, [][]byte{found[:align], found[align:]}, 0); err != nil || !bytes.Equal(found, data) {
		t.Errorf("%v", err)
	}
	buffered, err := vfs.OS.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer buffered.Close()
	clear(found)
	if _, err := buffered.ReadAt(found[:100], 7); err != nil || !bytes.Equal(found[:100], data[7:107]) {
		t.Errorf("%v", err)
	}
	if n := vfs.Cached(buffered, 0, size); n == 0 {
		t.Error("nothing is in the page cache after a read")
	}
}
