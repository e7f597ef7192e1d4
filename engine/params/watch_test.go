package params

import (
	"errors"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs"
)

// TestWait has readers wait for versions that another store publishes, with and without a system that tells of changes.
func TestWait(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"told": vfs.OS, "untold": struct{ vfs.FS }{vfs.OS}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writer, reader := opened(t, dir, nil), opened(t, dir, fsys)
			if version, err := reader.Wait("m", 0, 20*time.Millisecond); version != 0 || err != nil {
				t.Fatalf("%d, %v", version, err)
			}
			found := make(chan uint64)
			go func() {
				defer close(found)
				for last := uint64(0); last < 4; {
					version, err := reader.Wait("m", last, time.Minute)
					if err != nil || version <= last {
						t.Errorf("%d after %d: %v", version, last, err)
						return
					}
					last = version
					found <- version
				}
			}()
			for want := uint64(1); want <= 4; want++ {
				mustSave(t, writer, "other", nil, SaveOptions{})
				mustSave(t, writer, "m", model(1), SaveOptions{})
				begun := time.Now()
				if got := <-found; got != want {
					t.Fatalf("%d, want %d", got, want)
				}
				if took := time.Since(begun); took > 4*time.Second { // below lookEvery
					t.Errorf("version %d was found after %v", want, took)
				}
			}
			if _, there := <-found; there {
				t.Fatal("a version that there is not")
			}
			failed := make(chan error)
			go func() {
				_, err := reader.Wait("m", 9, time.Minute)
				failed <- err
			}()
			time.Sleep(20 * time.Millisecond)
			if err := reader.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			if _, err := reader.Wait("m", 0, time.Minute); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		})
	}
	if _, err := opened(t, t.TempDir(), nil).Wait("", 0, 0); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}
