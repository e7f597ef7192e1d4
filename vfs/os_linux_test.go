package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

// TestStartWriteback sees the pages of a file go to the disk long before the kernel
// would write them by itself, which is after 30 seconds.
func TestStartWriteback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dirty := func() uint64 {
		var seen unix.Cachestat_t
		err := unix.Cachestat(uint(file.Fd()), &unix.CachestatRange{}, &seen, 0)
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("the kernel does not say what is dirty: it has no cachestat")
		}
		if err != nil {
			t.Fatal(err)
		}
		return seen.Dirty
	}
	if dirty() == 0 {
		t.Skip("the file system keeps no dirty pages")
	}
	vfs.StartWriteback(path)
	for begun := time.Now(); dirty() > 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%d pages are dirty still", dirty())
		}
	}
	vfs.StartWriteback(path + " that is not there")
}
