package statefile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"golang.org/x/sys/unix"
)

// TestLockIsNotTheFileThatWasRemoved takes the lock of a directory whose LOCK was
// removed while it was held.
func TestLockIsNotTheFileThatWasRemoved(t *testing.T) {
	dir := t.TempDir()
	first, err := Hold(dir)
	must(t, err)
	must(t, first.Check())
	must(t, os.Remove(filepath.Join(dir, lockName)))
	if err := first.Check(); !errors.Is(err, engine.ErrDisowned) {
		t.Errorf("of a file that is gone: %v", err)
	}
	second, err := Hold(dir)
	must(t, err)
	if err := first.Check(); !errors.Is(err, engine.ErrDisowned) {
		t.Errorf("of another's file: %v", err)
	}
	must(t, second.Check())
	must(t, first.Undo())
	if _, err := Hold(dir); !errors.As(err, new(*engine.LockedError)) {
		t.Errorf("the end of the first lock has ended the second: %v", err)
	}
	must(t, second.Undo())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// inherited starts a process that has the file open as well, until the test ends.
func inherited(t *testing.T, f *os.File) *exec.Cmd {
	t.Helper()
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{f}
	must(t, child.Start())
	t.Cleanup(func() {
		must(t, child.Process.Kill())
		_ = child.Wait() // it was killed
	})
	return child
}

// TestLockIsFreeWhenItsHolderLetsGo, whoever has inherited the file.
func TestLockIsFreeWhenItsHolderLetsGo(t *testing.T) {
	dir := t.TempDir()
	l, err := Hold(dir)
	must(t, err)
	copied, err := unix.Dup(l.fd)
	must(t, err)
	f := os.NewFile(uintptr(copied), "copy")
	inherited(t, f)
	must(t, f.Close())
	if holder, err := HolderOf(dir); err != nil || !strings.HasPrefix(holder, fmt.Sprintf("process %d on ", os.Getpid())) {
		t.Errorf("held by %q, %v", holder, err)
	}
	must(t, l.Release())
	next, err := Hold(dir)
	must(t, err)
	must(t, next.Release())
}

// TestLockNamesItsHeir: one that has a lock which another process took and did not
// let go of, before it ended.
func TestLockNamesItsHeir(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, lockName))
	must(t, err)
	_, err = f.WriteString("process 1 on another")
	must(t, err)
	must(t, flock(int(f.Fd()), unix.LOCK_EX))
	child := inherited(t, f)
	must(t, f.Close())
	_, err = Hold(dir)
	var locked *engine.LockedError
	if want := fmt.Sprintf("process %d on ", child.Process.Pid); !errors.As(err, &locked) || locked.Here || locked.Detail() != int64(child.Process.Pid) || !strings.HasPrefix(locked.Holder, want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if holder, err := HolderOf(dir); err != nil || holder != locked.Holder {
		t.Errorf("held by %q, %v", holder, err)
	}
}
