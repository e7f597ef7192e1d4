package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// atRest makes a bucket with rows in three fragments and in four segments of the
// log, and returns what the death of its process leaves.
func atRest(t *testing.T) (dir string, rows []row) {
	t.Helper()
	o := quiet(func(o *options.Options) { o.FS = lazy{vfs.OS}; o.MaxWALBytes = options.MinWALBytes })
	b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
	for i := range 7 {
		more := numberedRows(rows, 40)
		for j := range more {
			more[j].extra = int64(i) // of a column of its own: each begins a segment
		}
		must(t, putRows(b, more))
		rows = append(rows, more...)
		if i < 3 {
			must(t, b.Flush())
		}
	}
	must(t, b.Commit("trainer", 100))
	return crash(t, b.home.Path), rows
}

// replaced makes something else of the one file that matches.
func replaced(t *testing.T, dir, pattern string, with func(path string) error) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	if len(found) == 0 {
		t.Fatalf("nothing matches %s", pattern)
	}
	must(t, with(slices.Min(found)))
}

func gone(path string) error { return os.RemoveAll(path) }

func asDirectory(path string) error { return after(gone(path), os.Mkdir(path, 0o755)) }

func asPipe(path string) error { return after(gone(path), syscall.Mkfifo(path, 0o644)) }

func asLoop(path string) error { return after(gone(path), os.Symlink(filepath.Base(path), path)) }

func asFile(path string) error {
	return after(gone(path), os.WriteFile(path, []byte("foreign"), 0o644))
}

func asEmpty(path string) error { return os.Truncate(path, 0) }

func asHalf(path string) error {
	info, err := os.Stat(path)
	return after(err, os.Truncate(path, info.Size()/2))
}

// asGiant gives a file a terabyte of zeros behind its content.
func asGiant(path string) error { return os.Truncate(path, 1<<40) }

// asLink keeps the content elsewhere.
func asLink(path string) error {
	elsewhere := filepath.Dir(filepath.Dir(path)) + ".elsewhere"
	return after(os.Rename(path, elsewhere), os.Symlink(elsewhere, path))
}

func asText(text string) func(string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o644) }
}

// asMark writes a sound mark.
func asMark(s table.Mark) func(string) error {
	return func(path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		m, err := table.ReadMarker(vfs.OS, filepath.Dir(path))
		if err == nil {
			err = errors.Join(m.Replace(s), m.Close())
		}
		return err
	}
}

func flipped(at int64) func(string) error {
	return func(path string) error {
		b, err := os.ReadFile(path)
		b[at] ^= 0x20
		return after(err, os.WriteFile(path, b, 0o644))
	}
}

func after(err, next error) error {
	if err != nil {
		return err
	}
	return next
}

// TestForeignFiles puts something else in the place of a file of a bucket. Either
// all rows are there, or there is an error that says what is wrong; in no case a
// crash, a wait without end or a giant allocation.
func TestForeignFiles(t *testing.T) {
	const (
		newest = "data.lance/_versions/*.manifest"
		data   = "data.lance/data/*.lance"
		how    = "data.lance/_transactions/*.txn"
		hint   = "data.lance/_versions/latest_version_hint.json"
		log    = "wal/*.wal"
		fine   = ""
		// What was in the table is not there, and the log begins after it.
		lost = "are missing"
		// The log may have the rows, but the version may have removed or changed some.
		older = "was on disk, and"
		// The file may be of the first version, below which there is none.
		either = lost + "|" + older
	)
	for _, c := range []struct {
		file string
		name string
		with func(string) error
		want string // in the error; empty: all rows are there
	}{
		{"bucket.json", "a directory", asDirectory, "bucket.json"},
		{"bucket.json", "a pipe", asPipe, "bucket.json"},
		{"bucket.json", "a loop", asLoop, "bucket.json"},
		{"bucket.json", "a giant", asGiant, "bucket.json"},
		{"bucket.json", "empty", asEmpty, "bucket.json"},
		{"bucket.json", "elsewhere", asLink, fine},
		{"bucket.json", "null", asText("null"), "bucket.json"},
		{"bucket.json", "another type", asText(`{"format":"one"}`), "bucket.json"},
		{"LOCK", "a directory", asDirectory, "LOCK"},
		{"LOCK", "a pipe", asPipe, "LOCK"},
		{"LOCK", "a giant", asGiant, fine},
		{"LOCK", "gone", gone, fine},
		{"table.mark", "a directory", asDirectory, "table.mark"},
		{"table.mark", "a pipe", asPipe, "table.mark"},
		{"table.mark", "a loop", asLoop, "table.mark"},
		{"table.mark", "a giant", asGiant, "table.mark"},
		{"table.mark", "empty", asEmpty, "table.mark"},
		{"table.mark", "half", asHalf, fine},
		{"table.mark", "gone", gone, fine},
		{"table.mark", "damaged in the first slot", flipped(20), fine},
		{"table.mark", "damaged in the second slot", flipped(512 + 20), fine},
		{"table.mark", "damaged in both", func(p string) error { return after(flipped(20)(p), flipped(512+20)(p)) }, "table.mark"},
		{"table.mark", "of a future version", asMark(table.Mark{Version: 1 << 63}), older},
		{"table.mark", "of more rows", asMark(table.Mark{Version: 4, Rows: 1 << 62}), "were in the table"},
		{"table.mark", "of less than no rows", asMark(table.Mark{Version: 4, Rows: -1}), fine},
		{"table.mark", "of an older version", asMark(table.Mark{Version: 2, Changing: true}), lost},
		{"table.mark", "of no version", asMark(table.Mark{Changing: true}), lost},
		{"wal", "a file", asFile, "wal"},
		{"wal", "a pipe", asPipe, "wal"},
		{"wal", "a loop", asLoop, "wal"},
		{"wal", "elsewhere", asLink, fine},
		{log, "a directory", asDirectory, ".wal"},
		{log, "a pipe", asPipe, ".wal"},
		{log, "a loop", asLoop, ".wal"},
		{log, "foreign", asFile, ".wal"},
		{log, "empty", asEmpty, ".wal"},
		{log, "gone", gone, lost},
		{log, "a giant", asGiant, ".wal"},
		{"data.lance", "a file", asFile, "data.lance"},
		{"data.lance", "a pipe", asPipe, "data.lance"},
		{"data.lance", "a loop", asLoop, "data.lance"},
		{"data.lance", "gone", gone, lost},
		{"data.lance", "elsewhere", asLink, fine},
		{"data.lance/_versions", "a file", asFile, "_versions"},
		{"data.lance/_versions", "a pipe", asPipe, "_versions"},
		{"data.lance/_versions", "gone", gone, lost},
		{"data.lance/_transactions", "gone", gone, fine},
		{"data.lance/data", "gone", gone, lost},
		{"data.lance/data", "a file", asFile, "data.lance"},
		{how, "a directory", asDirectory, fine},
		{how, "a pipe", asPipe, fine},
		{how, "foreign", asFile, fine},
		{how, "a giant", asGiant, fine},
		{newest, "a directory", asDirectory, ".manifest"},
		{newest, "a pipe", asPipe, ".manifest"},
		{newest, "a loop", asLoop, ".manifest"},
		{newest, "gone", gone, older},
		{newest, "empty", asEmpty, older},
		{newest, "half", asHalf, older},
		{newest, "a giant", asGiant, older},
		{newest, "foreign", asFile, older},
		{hint, "a directory", asDirectory, fine},
		{hint, "a pipe", asPipe, fine},
		{hint, "foreign", asFile, fine},
		{hint, "gone", gone, fine},
		{hint, "a giant", asGiant, fine},
		{hint, "of another version", asText(`{"version":1}`), fine},
		{hint, "of a future version", asText(`{"version":99}`), fine},
		{data, "a directory", asDirectory, "data"},
		{data, "a pipe", asPipe, "data"},
		{data, "a loop", asLoop, "data"},
		{data, "gone", gone, either},
		{data, "half", asHalf, either},
		{data, "a giant", asGiant, either},
		{data, "elsewhere", asLink, fine},
	} {
		t.Run(c.file+", "+c.name, func(t *testing.T) {
			dir, rows := atRest(t)
			replaced(t, dir, c.file, c.with)
			before := tree(t, dir)
			err := openAndRead(t, dir, rows, c.want == fine)
			if err != nil {
				sameTree(t, before, tree(t, dir))
			}
			switch {
			case c.want == fine && err != nil:
				t.Fatal(err)
			case c.want != fine && (err == nil || !regexp.MustCompile(c.want).MatchString(err.Error())):
				t.Fatalf("got %v, want an error that says %q", err, c.want)
			}
		})
	}
}

// openAndRead opens a bucket and reads all rows, in good time and in little
// memory, and closes it.
func openAndRead(t *testing.T, dir string, rows []row, writes bool) error {
	t.Helper()
	before := peakMemory(t, true)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			b, err := Open(dir, quiet())
			if err != nil {
				return err
			}
			c, err := b.Read(0, 1<<20, false)
			if err != nil {
				return after(b.Close(), err)
			}
			var got []row
			for {
				rec, err := c.Next()
				if err != nil {
					break
				}
				got = append(got, rowsOf(rec)...)
				rec.Release()
			}
			must(t, c.Close())
			if !slices.Equal(got, rows) {
				return fmt.Errorf("%d rows, want %d", len(got), len(rows))
			}
			if writes {
				must(t, putRows(b, numberedRows(rows, 3)))
				must(t, b.Flush())
			}
			return b.Close()
		}()
	}()
	select {
	case err := <-done:
		if peak := peakMemory(t, false); peak > before+300<<20 {
			t.Errorf("it takes %d MiB", (peak-before)>>20)
		}
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
		return nil
	}
}

// peakMemory is the most memory that the process had since the last reset.
func peakMemory(t *testing.T, reset bool) int64 {
	t.Helper()
	if reset {
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // where that is allowed
	}
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	var kilobytes int64
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Sscan(rest, &kilobytes)
			must(t, err)
		}
	}
	return kilobytes << 10
}

// TestUnreadableFiles refuses to open files, as permissions do, for all but the
// superuser.
func TestUnreadableFiles(t *testing.T) {
	dir, _ := atRest(t)
	for _, file := range []string{"bucket.json", "table.mark", ".wal", "wal"} {
		o := quiet(func(o *options.Options) {
			o.FS = &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
				if strings.HasSuffix(op.Path, file) && (op.Name == "open" || op.Name == "readdir") {
					return &fs.PathError{Op: op.Name, Path: op.Path, Err: fs.ErrPermission}
				}
				return nil
			}}
		})
		for _, recovery := range []string{"strict", "salvage"} {
			o.WALRecovery = recovery
			b, err := Open(dir, o)
			if err == nil {
				t.Errorf("%s cannot be read, and the bucket opens, %s", file, recovery)
				must(t, b.Close())
			} else if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "permission") {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
