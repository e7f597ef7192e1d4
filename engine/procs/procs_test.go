package procs_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/persisting/persisting/engine/procs"
)

// TestAtLeast raises the number, never lowers it, and leaves what the environment says.
func TestAtLeast(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "1")
	procs.AtLeast(before + 1)
	if now := runtime.GOMAXPROCS(0); now != before {
		t.Errorf("%d, though the environment says how many", now)
	}
	if err := os.Unsetenv("GOMAXPROCS"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{before + 3, before + 1} {
		procs.AtLeast(n)
		if now := runtime.GOMAXPROCS(0); now != before+3 {
			t.Errorf("%d after at least %d, want %d", now, n, before+3)
		}
	}
	if procs.Cores() != before {
		t.Errorf("%d cores, want %d", procs.Cores(), before)
	}
}
