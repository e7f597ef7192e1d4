package bucket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/table"
)

// listing is what is in a directory: the contents of files, by path.
func listing(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	})
	must(t, err)
	return found
}

func TestACloneHasAllRowsAndChangesNothing(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"with a log":                  func(*Options) {},
		"with a log that syncs":       func(o *Options) { o.WALSyncInterval = 0 },
		"with a compressed log":       func(o *Options) { o.WALCompression = "zstd" },
		"with many segments":          func(o *Options) { o.MaxWALBytes = minWALBytes },
		"without a log, when flushed": func(o *Options) { o.EnableWAL = false },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "bucket")
			b := open(t, dir, quiet(change))
			appendRows(t, b, 5)
			must(t, b.Flush())
			_, err := b.Delete("id = 2")
			must(t, err)
			must(t, b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}))
			rows := int64(20_000)
			if b.log == nil {
				rows = 1000 // which the index does not take in
			}
			appendRows(t, b, rows)
			if b.log == nil {
				must(t, b.Flush())
			}
			before := listing(t, dir)
			into := filepath.Join(root, "clone")
			cloned, err := inspect.Clone(dir, into)
			must(t, err)
			if cloned.InUseBy == nil || cloned.Logged != (b.log != nil) {
				t.Fatalf("%+v", cloned)
			}
			c := open(t, into, quiet())
			want := append([]int64{0, 1}, span(3, 5+rows)...)
			read, err := c.Read(0, 1<<40, false)
			if got := ids(t, read, err); !slices.Equal(got, want) {
				t.Fatalf("%d rows", len(got))
			}
			appendRows(t, c, 7)
			must(t, c.Compact())
			if n, err := c.Count("id >= 500"); n != rows+5-500+7 || err != nil {
				t.Fatal(n, err)
			}
			must(t, c.Close())
			must(t, os.RemoveAll(into))
			if after := listing(t, dir); len(after) != len(before) {
				t.Fatalf("%d files, there were %d", len(after), len(before))
			} else {
				for path, text := range after {
					if before[path] != text {
						t.Fatalf("%s was changed", path)
					}
				}
			}
			if _, err := inspect.Clone(dir, root); !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		})
	}
}

func TestACloneOfWhatIsNoBucket(t *testing.T) {
	if _, err := inspect.Clone(t.TempDir(), filepath.Join(t.TempDir(), "clone")); !errors.Is(err, engine.ErrNoBucket) {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	into := filepath.Join(t.TempDir(), "clone")
	_, err := inspect.Clone(dir, into) // without a row
	must(t, err)
	wantRows(t, open(t, into, quiet()), 0)
	appendRows(t, b, 3)
	must(t, b.Flush())
	must(t, b.Close())
	must(t, os.Remove(filepath.Join(dir, "data.lance", "data", onlyFile(t, filepath.Join(dir, "data.lance", "data")))))
	_, err = inspect.Clone(dir, filepath.Join(t.TempDir(), "clone"))
	if !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("a bucket without its data file: %v", err)
	}
}

func onlyFile(t testing.TB, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("%d files in %s", len(files), dir)
	}
	return files[0].Name()
}

// TestClonesOfALiveBucket are made while rows are appended, flushed, removed and compacted.
func TestClonesOfALiveBucket(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "bucket")
	b := open(t, dir, quiet(func(o *Options) {
		o.FlushRows, o.CompactFragments, o.MaxWALBytes, o.RetentionRows = 500, 4, minWALBytes, 20_000
	}))
	appendRows(t, b, 1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				appendRows(t, b, 25)
			}
		}
	}()
	made := 0
	for i := range 40 {
		into := filepath.Join(root, "clone"+strconv.Itoa(i))
		before := b.Acknowledged()
		if _, err := inspect.Clone(dir, into); errors.Is(err, inspect.ErrOvertaken) {
			continue
		} else {
			must(t, err)
		}
		if copyLinked(t, into) {
			wantWhole(t, into, before)
			made++
		}
		must(t, os.RemoveAll(into))
	}
	close(stop)
	<-done
	if made < 20 {
		t.Errorf("only %d clones of 40", made)
	}
}

// copyLinked puts copies in the place of links, and says whether all that they link to
// is still there.
func copyLinked(t testing.TB, dir string) bool {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSymlink {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(path), os.WriteFile(path, text, 0o600))
	})
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	return err == nil
}

// wantWhole checks a clone that was made when there were at least so many rows.
func wantWhole(t testing.TB, clone string, rows int64) {
	t.Helper()
	c, err := Open(clone, quiet(func(o *Options) { o.CacheBytes = 0 }))
	if err != nil {
		t.Error(err)
		return
	}
	first := c.Stats().FirstOffset
	read, err := c.Read(first, 1<<40, false)
	got := ids(t, read, err)
	if end := c.Acknowledged(); end < rows || !slices.Equal(got, span(first, end)) {
		t.Errorf("rows %d to %d, want all to %d", first, end, rows)
	}
	must(t, c.Close())
}
