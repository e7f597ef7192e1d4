package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func waitFor(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	w, err := Watch(OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "a"), nil, 0o600) },
		func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")) },
		func() error { return os.Remove(filepath.Join(dir, "b")) },
	} {
		changed := w.Changed()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, changed)
	}
	time.Sleep(20 * time.Millisecond) // events that came with those
	changed := w.Changed()
	select {
	case <-changed:
		t.Fatal("a change is told that there was not")
	case <-time.After(50 * time.Millisecond):
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, changed)
	waitFor(t, w.Changed())
}

func TestWatchOfWhatCannotBeWatched(t *testing.T) {
	if _, err := Watch(OS, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Watch(struct{ FS }{OS}, t.TempDir()); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
