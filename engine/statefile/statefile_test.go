package statefile

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

func TestEveryFlipAndEveryCutIsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := Write(vfs.OS, path, []byte("some content")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(vfs.OS, path); err != nil || string(got) != "some content" {
		t.Fatalf("%q, %v", got, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(changed []byte) {
		t.Helper()
		if err := os.WriteFile(path, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(vfs.OS, path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", changed, err)
		}
	}
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x40
		refused(changed)
		refused(whole[:i])
	}
	refused(append(bytes.Clone(whole), 0))
	if _, err := Read(vfs.OS, path+"2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestEveryFaultAndCrash fails each operation of a write in turn, and loses power at each: the file holds one of the contents.
func TestEveryFaultAndCrash(t *testing.T) {
	for n := int64(1); ; n++ {
		mem := faultfs.NewMem()
		if err := mem.MkdirAll("/d"); err != nil {
			t.Fatal(err)
		}
		if err := Write(mem, "/d/state", []byte("old")); err != nil {
			t.Fatal(err)
		}
		nth := &faultfs.Nth{N: n, Err: errors.New("disk")}
		err := Write(&faultfs.Hook{FS: mem, Before: nth.Before, Short: true}, "/d/state", []byte("new content"))
		if n > nth.Count() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		for seed := range uint64(20) {
			got, readErr := Read(mem, "/d/state")
			if readErr != nil || string(got) != "old" && string(got) != "new content" {
				t.Fatalf("fault %d, crash %d: %q, %v", n, seed, got, readErr)
			}
			if err == nil && string(got) != "new content" {
				t.Fatalf("fault %d, crash %d: a write that succeeded is gone", n, seed)
			}
			mem.Crash(rand.New(rand.NewPCG(uint64(n), seed)))
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	held, err := Hold(dir)
	must(t, err)
	must(t, held.Sign())
	_, err = Hold(dir)
	var locked *engine.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Path != dir || !locked.Here {
		t.Fatalf("%+v, %v", locked, err)
	}
	must(t, held.Release())
	again, err := Hold(dir)
	must(t, err)
	must(t, again.Release())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
