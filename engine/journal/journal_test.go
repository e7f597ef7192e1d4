package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// words is a state: the words of all records.
type words struct{ all []string }

func (w *words) Restore(snapshot []byte) error {
	if w.all = strings.Fields(string(snapshot)); slices.Contains(w.all, "refused") {
		return errors.New("refused")
	}
	return nil
}

func (w *words) Replay(record []byte) error {
	w.all = append(w.all, string(record))
	return nil
}

func options(dir string) wal.Options {
	return wal.Options{Dir: dir, SegmentBytes: 1 << 12, SyncInterval: time.Hour}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, o wal.Options) (*Journal, *words) {
	t.Helper()
	w := &words{}
	r, err := Read(o, w)
	must(t, err)
	j, err := r.Open()
	must(t, err)
	return j, w
}

func write(t *testing.T, j *Journal, w *words, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		wait, err := j.Append(fmt.Appendf(nil, "w%d", i))
		must(t, err)
		must(t, wait())
		must(t, w.Replay(fmt.Appendf(nil, "w%d", i)))
	}
}

// copied is the directory as a process would find it that was killed now.
func copied(t *testing.T, dir string) string {
	t.Helper()
	into := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(into, os.DirFS(dir)))
	return into
}

func TestWhatWasAppendedIsThereAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	r, err := Read(options(dir), &words{})
	must(t, err)
	if !r.Empty() {
		t.Error("a directory that is not there holds something")
	}
	j, w := open(t, options(dir))
	must(t, j.Snapshot(nil))
	if r, err = Read(options(dir), &words{}); err != nil || r.Empty() {
		t.Errorf("an empty snapshot is nothing, %v", err)
	}
	write(t, j, w, 0, 200)
	for round := range 4 {
		killed, found := open(t, options(copied(t, dir)))
		if !slices.Equal(found.all, w.all) {
			t.Fatalf("round %d: %d words, want %d", round, len(found.all), len(w.all))
		}
		must(t, killed.Close())
		must(t, j.Snapshot([]byte(strings.Join(w.all, " "))))
		if size := j.Size(); size > 1<<12 {
			t.Errorf("the log has %d bytes", size)
		}
		write(t, j, w, len(w.all), len(w.all)+round*70)
	}
	must(t, j.Close())
	j, found := open(t, options(dir))
	if !slices.Equal(found.all, w.all) {
		t.Errorf("%d words, want %d", len(found.all), len(w.all))
	}
	must(t, j.Close())
}

// TestACrashBeforeTheCutReplaysNothingTwice has the snapshot of later and the log of before.
func TestACrashBeforeTheCutReplaysNothingTwice(t *testing.T) {
	dir := t.TempDir()
	j, w := open(t, options(dir))
	write(t, j, w, 0, 100)
	crashed := copied(t, dir)
	must(t, j.Snapshot([]byte(strings.Join(w.all, " "))))
	must(t, j.Close())
	content, err := os.ReadFile(filepath.Join(dir, SnapshotFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(crashed, SnapshotFile), content, 0o600))
	j, found := open(t, options(crashed))
	if !slices.Equal(found.all, w.all) {
		t.Errorf("%d words, want %d", len(found.all), len(w.all))
	}
	write(t, j, found, 100, 110)
	must(t, j.Close())
	if _, found = openClosed(t, options(crashed)); len(found.all) != 110 {
		t.Errorf("%d words, want 110", len(found.all))
	}
}

func openClosed(t *testing.T, o wal.Options) (*Journal, *words) {
	t.Helper()
	j, w := open(t, o)
	must(t, j.Close())
	return j, w
}

func TestDamageIsToldAndSalvaged(t *testing.T) {
	damage := map[string]func(dir string) error{
		"snapshot": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, SnapshotFile), []byte("other"), 0o600)
		},
		"log": func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
			if err != nil || len(names) < 2 {
				return fmt.Errorf("%q: %w", names, err)
			}
			content, err := os.ReadFile(names[0])
			if err == nil {
				content[300] ^= 1
				err = os.WriteFile(names[0], content, 0o600)
			}
			return err
		},
		"no snapshot": func(dir string) error { return os.Remove(filepath.Join(dir, SnapshotFile)) },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, w := open(t, options(dir))
			write(t, j, w, 0, 50)
			must(t, j.Snapshot([]byte(strings.Join(w.all, " "))))
			write(t, j, w, 50, 150)
			must(t, j.Close())
			must(t, do(dir))
			if _, err := Read(options(dir), &words{}); !errors.Is(err, engine.ErrCorrupt) && !errors.Is(err, segment.ErrCorrupt) {
				t.Fatalf("read: %v", err)
			}
			o := options(dir)
			o.Recovery = wal.Salvage
			j, found := open(t, o)
			if len(found.all) == 0 || len(found.all) > 150 {
				t.Errorf("%d words are left", len(found.all))
			}
			must(t, j.Snapshot([]byte(strings.Join(found.all, " "))))
			must(t, j.Close())
			if _, again := openClosed(t, options(dir)); !slices.Equal(again.all, found.all) {
				t.Errorf("%d words, want %d", len(again.all), len(found.all))
			}
		})
	}
}
