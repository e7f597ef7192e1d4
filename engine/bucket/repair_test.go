package bucket

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

// contents returns what is in the files below dir, with their times.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" { // which says who had it last
			return err
		}
		info, err := d.Info()
		must(t, err)
		b, err := os.ReadFile(path)
		found[path] = info.ModTime().String() + string(b)
		return err
	}))
	return found
}

// unchanged calls f and checks that it changes nothing.
func unchanged(t *testing.T, dir string, f func()) {
	t.Helper()
	before := contents(t, dir)
	f()
	after := contents(t, dir)
	for path := range before {
		if after[path] != before[path] {
			t.Errorf("%s changed", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, there were %d", len(after), len(before))
	}
}

func examine(t *testing.T, dir string) inspect.Examination {
	t.Helper()
	var x inspect.Examination
	unchanged(t, dir, func() {
		var err error
		x, err = inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true, Layout: true})
		must(t, err)
	})
	return x
}

func TestExamine(t *testing.T) {
	dir, rows := atRest(t)
	x := examine(t, dir)
	if !x.Sound || len(x.Faults)+len(x.Notes)+len(x.Aside) > 0 || x.InUseBy != nil || len(x.ID) != 32 {
		t.Fatalf("%+v", x)
	}
	if x.Rows != int64(len(rows)) || x.Table.Rows != 120 || !x.Table.RowsRead || x.Log.Rows != 160 || x.Log.Entries != 4 {
		t.Fatalf("%+v", x)
	}
	if len(x.Table.Fragments) != 3 || len(x.Log.Segments) != 4 || x.Log.Segments[0].First != 120 || x.Log.Segments[3].Rows != 40 {
		t.Fatalf("%+v", x)
	}
	if !slices.Contains(x.Columns, inspect.Column{Name: "text", Type: "utf8"}) || !slices.Contains(x.Columns, inspect.Column{Name: "extra6", Type: "int64"}) || len(x.Columns) != 8 {
		t.Fatalf("%+v", x.Columns)
	}
	if x.End != x.Rows || x.Table.End != 120 {
		t.Fatalf("%+v", x)
	}
	if x.DiskSize < x.Table.Bytes+x.Log.Bytes || x.Table.Bytes == 0 {
		t.Fatalf("%+v", x)
	}
}

// TestExamineCrashed looks at what a crash left, which is no fault.
func TestExamineCrashed(t *testing.T) {
	dir, rows := atRest(t)
	replaced(t, dir, "table.mark", asMark(table.Mark{Version: 3, Rows: 80, Changing: true}))
	replaced(t, dir, "wal/*.wal", gone)
	replaced(t, dir, "wal/*.wal", func(path string) error { return os.RemoveAll(filepath.Dir(path)) })
	x := examine(t, dir)
	if !x.Sound || len(x.Notes) == 0 || x.Rows >= int64(len(rows)) || x.Rows < 80 {
		t.Fatalf("%+v", x)
	}
}

// TestExamineOpen looks at a bucket while it is written, flushed and compacted.
func TestExamineOpen(t *testing.T) {
	o := quiet(func(o *options.Options) { o.FS = lazy{vfs.OS} })
	b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
	appendRows(t, b, 10)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			rec := someRows(t, b.Acknowledged(), 50)
			_, _, err := b.Append(Record{Rows: rec}, false)
			rec.Release()
			if err == nil && i%5 == 4 {
				err = b.Flush()
			}
			if err == nil && i%20 == 19 {
				err = b.Compact()
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	last := int64(0)
	for range 30 {
		x, err := inspect.Examine(b.home.Path, inspect.ExamineOptions{ReadRows: true})
		must(t, err)
		if !x.Sound || x.InUseBy == nil || x.Rows < last {
			t.Fatalf("after %d rows: %+v", last, x)
		}
		last = x.Rows
	}
	close(done)
	<-stopped
	if last < 100 {
		t.Fatalf("%d rows were seen", last)
	}
	if _, err := inspect.Repair(b.home.Path, false, Salvage); !errors.As(err, new(*engine.LockedError)) {
		t.Errorf("a repair while it is open: %v", err)
	}
	if _, err := inspect.Repair(b.home.Path, true, Salvage); !errors.As(err, new(*engine.LockedError)) {
		t.Errorf("a repair while it is open: %v", err)
	}
}

func TestExamineNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := inspect.Examine(filepath.Join(dir, "none"), inspect.ExamineOptions{}); !errors.Is(err, engine.ErrNoBucket) {
		t.Errorf("no directory: %v", err)
	}
	unchanged(t, dir, func() {
		if _, err := inspect.Repair(dir, true, Salvage); !errors.Is(err, engine.ErrNoBucket) {
			t.Errorf("an empty directory: %v", err)
		}
	})
}

// oldest returns a segment of the log, which n are older than.
func oldest(t *testing.T, dir string, n int) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "wal/*.wal"))
	must(t, err)
	if len(found) <= n {
		t.Fatalf("segments: %v", found)
	}
	slices.SortFunc(found, func(a, b string) int {
		x, err := os.Stat(a)
		must(t, err)
		y, err := os.Stat(b)
		must(t, err)
		return x.ModTime().Compare(y.ModTime())
	})
	return found[n]
}

func TestRepair(t *testing.T) {
	const data, log = "data.lance/data/*.lance", "wal/*.wal"
	type rows = [][2]int64
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string) error
		fault  string // a part of the file that is named
		lost   rows
		ends   int64 // rows after the repair
		kept   string
	}{
		"nothing": {damage: func(*testing.T, string) error { return nil }, ends: 280},
		"the first data file is gone": {
			damage: func(t *testing.T, dir string) error { return gone(fragmentFile(t, dir, 0)) },
			fault:  "data/", lost: rows{{0, 40}}, ends: 280,
		},
		"the second data file is short": {
			damage: func(t *testing.T, dir string) error { return asHalf(fragmentFile(t, dir, 1)) },
			fault:  "data/", lost: rows{{40, 80}}, ends: 280,
		},
		"the last data file is gone": {
			damage: func(t *testing.T, dir string) error { return gone(fragmentFile(t, dir, 2)) },
			fault:  "data/", lost: rows{{80, 120}}, ends: 280,
		},
		"a data file and the log are gone": {
			damage: func(t *testing.T, dir string) error {
				return after(gone(fragmentFile(t, dir, 1)), gone(filepath.Join(dir, "wal")))
			},
			fault: "data/", lost: rows{{40, 80}, {120, -1}}, ends: 120,
		},
		"the newest manifest is torn and the log is gone": {
			damage: func(t *testing.T, dir string) error {
				return after(asHalf(newestManifest(dir)), gone(filepath.Join(dir, "wal")))
			},
			fault: ".manifest", lost: rows{{80, 120}, {120, -1}}, ends: 80,
		},
		"the newest manifest is another than was written": {
			damage: func(_ *testing.T, dir string) error { return flipped(30)(newestManifest(dir)) },
			fault:  ".manifest", lost: rows{{80, 120}}, ends: 280,
		},
		"the log is gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, "wal")) },
			fault:  "wal", lost: rows{{120, -1}}, ends: 120,
		},
		"all manifests are gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, "data.lance/_versions")) },
			fault:  "wal", lost: rows{{0, 120}}, ends: 280, kept: "data.lance.broken",
		},
		"the oldest segment is gone": {
			damage: func(t *testing.T, dir string) error { return gone(oldest(t, dir, 0)) },
			fault:  "wal", lost: rows{{120, 160}}, ends: 280,
		},
		"an entry is damaged": {
			damage: func(t *testing.T, dir string) error {
				found, err := filepath.Glob(filepath.Join(dir, log))
				must(t, err)
				info, err := os.Stat(found[1])
				must(t, err)
				return flipped(info.Size() / 2)(found[1])
			},
			fault: ".wal", lost: rows{{160, 200}}, ends: 280, kept: ".wal.broken",
		},
		"a segment is a terabyte": {
			damage: func(t *testing.T, dir string) error { return asGiant(oldest(t, dir, 1)) },
			fault:  ".wal", ends: 280, kept: ".wal.broken",
		},
		"a segment without a head is a terabyte": {
			damage: func(t *testing.T, dir string) error {
				path := oldest(t, dir, 1)
				return after(flipped(40)(path), asGiant(path))
			},
			fault: ".wal", ends: 280, kept: ".wal.broken",
		},
		"the identity is gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, "bucket.json")) },
			fault:  "bucket.json", ends: 280,
		},
		"the identity is damaged": {
			damage: func(_ *testing.T, dir string) error { return asEmpty(filepath.Join(dir, "bucket.json")) },
			fault:  "bucket.json", ends: 280, kept: "bucket.json.broken",
		},
		"the offsets of consumers are gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, layout.ConsumersFile)) },
			fault:  layout.ConsumersFile, ends: 280,
		},
		"the offsets of consumers are damaged": {
			damage: func(_ *testing.T, dir string) error { return asHalf(filepath.Join(dir, layout.ConsumersFile)) },
			fault:  layout.ConsumersFile, ends: 280, kept: layout.ConsumersFile + ".broken",
		},
		"the mark is damaged": {
			damage: func(_ *testing.T, dir string) error { return asEmpty(filepath.Join(dir, "table.mark")) },
			fault:  "table.mark", ends: 280, kept: "table.mark.broken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, rows := atRest(t)
			must(t, c.damage(t, dir))
			x, err := inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true})
			must(t, err)
			if x.Sound != (c.fault == "") || !x.Sound && !slices.ContainsFunc(x.Faults, func(f inspect.Fault) bool { return strings.Contains(f.File, c.fault) }) {
				t.Fatalf("examined as %+v", x)
			}
			dry, err := inspect.Repair(dir, false, Salvage)
			must(t, err)
			done, err := inspect.Repair(dir, true, Salvage)
			must(t, err)
			if !slices.Equal(dry.Steps, done.Steps) || !slices.Equal(dry.Lost, done.Lost) || dry.After != nil {
				t.Errorf("dry %+v, then %+v", dry, done)
			}
			if !slices.Equal(done.Lost, c.lost) || (len(done.Steps) == 0) != x.Sound {
				t.Errorf("lost %v by %q", done.Lost, done.Steps)
			}
			if x.Sound {
				return
			}
			if done.After == nil || !done.After.Sound || done.After.Rows != c.ends || done.After.End != c.ends || done.After.Log.Rows != 0 {
				t.Fatalf("afterwards: %+v", done.After)
			}
			if c.kept != "" && !slices.ContainsFunc(done.After.Aside, func(name string) bool { return strings.Contains(name, c.kept) }) {
				t.Errorf("kept %q", done.After.Aside)
			}
			want := slices.Clone(rows[:c.ends])
			for _, r := range c.lost {
				for i := r[0]; i < min(r[1], c.ends); i++ {
					want[i] = row{}
				}
			}
			must(t, openAndRead(t, dir, want, true))
		})
	}
}

// fragmentFile returns the data file of the n-th fragment of the newest version.
func fragmentFile(t *testing.T, dir string, n int) string {
	t.Helper()
	table := filepath.Join(dir, "data.lance")
	state, err := lance.Check(table, lance.CheckOptions{Layout: true})
	must(t, err)
	return filepath.Join(table, "data", state.Fragments[n].Files[0])
}

func newestManifest(dir string) string {
	found, err := filepath.Glob(filepath.Join(dir, "data.lance/_versions/*.manifest"))
	if err != nil {
		panic(err) // the pattern is right
	}
	return slices.Min(found)
}

// TestRepairIsNotPossible leaves alone what a repair could not put in order.
func TestRepairIsNotPossible(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"a foreign segment": func(dir string) error { return asFile(filepath.Join(dir, "wal", "mine.wal")) },
		"a manifest is a directory": func(dir string) error {
			return asDirectory(newestManifest(dir))
		},
		"the versions are not there": func(dir string) error { return asFile(filepath.Join(dir, "data.lance/_versions")) },
		"the log is not a directory": func(dir string) error { return asFile(filepath.Join(dir, "wal")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := atRest(t)
			must(t, damage(dir))
			if x := examine(t, dir); x.Sound {
				t.Fatalf("%+v", x)
			}
			unchanged(t, dir, func() {
				for _, apply := range []bool{false, true} {
					if _, err := inspect.Repair(dir, apply, Salvage); !errors.Is(err, engine.ErrCorrupt) {
						t.Errorf("repaired, %t: %v", apply, err)
					}
				}
			})
		})
	}
}

// TestStatsOfRecovery opens a bucket whose log was torn, damaged and salvaged.
func TestStatsOfRecovery(t *testing.T) {
	dir, rows := atRest(t)
	found, err := filepath.Glob(filepath.Join(dir, "wal/*.wal"))
	must(t, err)
	info, err := os.Stat(found[1])
	must(t, err)
	must(t, flipped(info.Size()/2)(found[1]))
	must(t, os.WriteFile(filepath.Join(dir, "data.lance/_versions/00000000000000000001.manifest"), nil, 0o644))
	o := quiet(func(o *options.Options) { o.WALRecovery = "salvage" })
	b := open(t, dir, o)
	s := b.Stats()
	want := Recovery{Replayed: 120, Healed: 1, Missing: [][2]int64{{160, 200}}}
	if !reflect.DeepEqual(s.Recovery, want) || s.TotalCount != int64(len(rows)) {
		t.Errorf("%+v, want %+v", s, want)
	}
	if s.Metrics.Lost != 40 || s.Metrics.Replayed != 120 || s.Metrics.Healed != 1 {
		t.Errorf("%+v", s.Metrics)
	}
	must(t, b.Close())
	if s := open(t, dir, quiet()).Stats(); !reflect.DeepEqual(s.Recovery, Recovery{Missing: [][2]int64{}}) {
		t.Errorf("once it is in the table: %+v", s.Recovery)
	}
}

// TestExamineRemoved looks at a bucket whose rows are not all there any more, as
// it should be, and at one whose list of removed rows is a terabyte.
func TestExamineRemoved(t *testing.T) {
	o := quiet(func(o *options.Options) { o.FS = lazy{vfs.OS} })
	b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
	for range 3 {
		appendRows(t, b, 10)
		must(t, b.Flush())
	}
	_, err := b.TruncateBefore(12)
	must(t, err)
	_, err = b.Delete("id = 25")
	must(t, err)
	appendRows(t, b, 5)
	dir := crash(t, b.home.Path)
	x := examine(t, dir)
	if !x.Sound || x.Rows != 22 || x.End != 35 || x.Table.Rows != 17 || x.Table.End != 30 || !x.Table.RowsRead {
		t.Fatalf("%+v", x)
	}
	replaced(t, dir, "data.lance/_deletions/*", asGiant)
	x, err = inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true}) // the file is too large for a comparison
	must(t, err)
	if x.Sound || !strings.Contains(x.Faults[0].File, "_deletions") {
		t.Fatalf("%+v", x)
	}
	done, err := inspect.Repair(dir, true, Salvage)
	must(t, err)
	if !done.After.Sound || done.After.End != 35 || len(done.Lost) > 0 || !slices.Contains(done.Steps, "have 13 rows back that were removed") {
		t.Fatalf("%+v", done)
	}
}
