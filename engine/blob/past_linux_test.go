package blob

import (
	"bytes"
	"os"
	"testing"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

// TestPastTheCache looks at what the system keeps of a block in memory.
func TestPastTheCache(t *testing.T) {
	s := NewStore(vfs.OS, t.TempDir(), Identity{}, 7, 8<<20)
	g, err := s.Create(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Begin(1, 0); err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("payload "), 3<<16)
	w := write(t, g, "key", payload)
	if g.Away(w) {
		t.Error("what was just written is away")
	}
	if g.past.open(g) == nil {
		t.Skip("the file system has no direct I/O")
	}
	if err := g.Sync(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.Path(0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if !g.Away(w) {
		t.Skip("the file system does not say what is in memory, or keeps it there")
	}
	got := make([]byte, len(payload))
	if err := g.ReadPast(w, [][]byte{got}, 0); err != nil || !bytes.Equal(got, payload) {
		t.Fatal(err)
	}
	if !g.Away(w) {
		t.Error("a read past the cache has filled it")
	}
	if err := g.Read(w, [][]byte{got}, 0); err != nil || g.Away(w) {
		t.Errorf("a read through the cache has not: %v", err)
	}
	if short := (Want{Page: w.Page, Length: minPast - 1}); g.Away(short) {
		t.Error("a short block is away")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}
