package faultfs_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

func write(t *testing.T, f vfs.File, text string, off int64) {
	t.Helper()
	if err := f.WriteAt([][]byte{[]byte(text)}, off); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, m *faultfs.Mem, path string) (string, bool) {
	t.Helper()
	f, err := m.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return string(b), true
}

// TestCrash counts over many seeds what survives.
func TestCrash(t *testing.T) {
	const synced, later = "what was synced", "WHAT CAME LATER"
	outcomes := map[string]int{}
	for seed := range uint64(300) {
		m := faultfs.NewMem()
		if err := m.MkdirAll("/d"); err != nil {
			t.Fatal(err)
		}
		f, _ := m.Create("/d/kept")
		write(t, f, synced, 0)
		if err := errors.Join(f.Sync(), m.SyncDir("/d")); err != nil {
			t.Fatal(err)
		}
		write(t, f, later, 0)
		g, _ := m.Create("/d/unsynced")
		write(t, g, "x", 0)
		if err := g.Sync(); err != nil {
			t.Fatal(err)
		}
		m.Crash(rand.New(rand.NewPCG(seed, 0)))
		if _, err := f.Size(); !errors.Is(err, faultfs.ErrCrashed) {
			t.Fatalf("a file outlives the crash: %v", err)
		}
		kept, ok := read(t, m, "/d/kept")
		if !ok || kept != synced && kept != later {
			t.Fatalf("seed %d: %q", seed, kept)
		}
		outcomes[kept]++
		if text, ok := read(t, m, "/d/unsynced"); ok {
			outcomes[text]++
		} else {
			outcomes["lost"]++
		}
	}
	for _, outcome := range []string{synced, later, "x", "lost"} {
		if outcomes[outcome] < 50 {
			t.Errorf("%q in %d of 300", outcome, outcomes[outcome])
		}
	}
}

func TestCrashMixesSectors(t *testing.T) {
	mixed := false
	for seed := range uint64(50) {
		m := faultfs.NewMem()
		_ = m.MkdirAll("/d")
		f, _ := m.Create("/d/f")
		if err := errors.Join(f.Preallocate(4096), f.Sync(), m.SyncDir("/d")); err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < 4096; off += 512 {
			write(t, f, "new", off)
		}
		m.Crash(rand.New(rand.NewPCG(seed, 0)))
		text, _ := read(t, m, "/d/f")
		count := 0
		for off := 0; off < 4096; off += 512 {
			if text[off] == 'n' {
				count++
			}
		}
		mixed = mixed || count > 0 && count < 8
	}
	if !mixed {
		t.Error("sectors always survive together")
	}
}

func TestKill(t *testing.T) {
	m := faultfs.NewMem()
	_ = m.MkdirAll("/d")
	f, _ := m.Create("/d/f")
	write(t, f, "text", 0)
	m.Kill()
	if text, ok := read(t, m, "/d/f"); !ok || text != "text" {
		t.Errorf("%q", text)
	}
	if err := f.WriteAt(nil, 0); !errors.Is(err, faultfs.ErrCrashed) {
		t.Errorf("a dead process writes: %v", err)
	}
}

func TestHook(t *testing.T) {
	m := faultfs.NewMem()
	stop := errors.New("stop")
	nth := &faultfs.Nth{N: 3, Err: stop}
	h := &faultfs.Hook{FS: m, Before: nth.Before, Short: true}
	if err := h.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	f, err := h.Create("/d/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteAt([][]byte{[]byte("ab"), []byte("cdef")}, 0); !errors.Is(err, stop) {
		t.Errorf("third operation: %v", err)
	}
	if text, _ := read(t, m, "/d/f"); text != "abc" {
		t.Errorf("half a write stored %q", text)
	}
	if err := f.Sync(); err != nil || nth.Count() != 4 {
		t.Errorf("fourth operation: %v, count %d", err, nth.Count())
	}
}
