package tasks

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

var (
	columns = arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "third", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, // has a value in every third row
	}, nil)
	errRefused = errors.New("refused")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list is rows without a disk: those from 0 to end that are not removed.
type list struct {
	t       testing.TB
	end     int64
	removed map[int64]bool
	changes uint64
	refused error
	reads   int
}

func (l *list) Writable() error                 { return l.refused }
func (l *list) Renew(bool) (int64, error)       { return l.end, nil }
func (l *list) Changes() uint64                 { return l.changes }
func (l *list) Schema() (*arrow.Schema, uint64) { return columns, 1 }

func (l *list) FirstFrom(offset int64) (int64, error) {
	for offset < l.end && l.removed[offset] {
		offset++
	}
	return offset, nil
}

func (l *list) Read(offset, count int64, _ bool) (*table.Cursor, error) {
	l.reads++
	b := array.NewRecordBuilder(arrowmemory.DefaultAllocator, columns)
	defer b.Release()
	p := table.Parts{Schema: columns}
	for i := offset; i < offset+count; i++ {
		if l.removed[i] {
			continue
		}
		b.Field(0).(*array.Int64Builder).Append(i)
		if i%3 == 0 {
			b.Field(1).(*array.Int64Builder).Append(i)
		} else {
			b.Field(1).AppendNull()
		}
		p.Offsets = table.AddRun(p.Offsets, i, i+1)
	}
	p.Batches = []arrow.Record{b.NewRecord()}
	return table.NewCursor(p), nil
}

func (l *list) Query(table.Query, []float64) (*table.Cursor, error) {
	l.t.Fatal("a query, where there are few rows")
	return nil, nil
}

func (l *list) DeleteRows(offsets []int64) (n int64, err error) {
	for _, o := range offsets {
		if !l.removed[o] {
			l.removed[o] = true
			n++
		}
	}
	return n, nil
}

// directory is that of a bucket whose table has rows rows.
func directory(t testing.TB, dir string, rows int64) (*statefile.Dir, *table.Table) {
	t.Helper()
	lock, err := statefile.Hold(dir)
	must(t, err)
	home := statefile.Held(dir, vfs.OS, lock)
	of, err := table.Open(home, table.Options{Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	if of.Newest() == nil {
		rec := batch.NullArray(columns.Field(0), rows)
		other := batch.NullArray(columns.Field(1), rows)
		record := array.NewRecord(columns, []arrow.Array{rec, other}, rows)
		defer batch.ReleaseAll([]arrow.Record{record})
		of.Growing.Lock()
		snapshot, err := of.Append(columns, []arrow.Record{record}, 0)
		of.Growing.Unlock()
		must(t, err)
		of.Publish(snapshot)
	} else {
		of.Newest().Release()
	}
	t.Cleanup(func() { must(t, errors.Join(of.Close(), home.Release())) })
	return home, of
}

// open opens the tasks of the rows in a directory.
func open(t testing.TB, dir string, rows *list, salvage bool) (*Tasks, error) {
	t.Helper()
	home, of := directory(t, dir, rows.end)
	tasks := New(rows, Options{Home: home, Salvage: salvage, Logger: slog.New(slog.DiscardHandler), Panicked: func(cause error) { t.Error(cause) }})
	read, err := tasks.Read([16]byte{1}, of)
	if err == nil && read != nil {
		err = tasks.Recover(read, rows.end)
	}
	t.Cleanup(func() { must(t, tasks.Close()) })
	return tasks, err
}

func ready(t testing.TB, tasks *Tasks, task string, columns ...string) []int64 {
	t.Helper()
	found := []int64{}
	must(t, tasks.Ready(task, columns, func(first int64, rows uint64) bool {
		for i := range int64(64) {
			if rows>>i&1 != 0 {
				found = append(found, first+i)
			}
		}
		return true
	}))
	return found
}

// TestMarksSurviveAKill makes random changes, writes the marks as a whole now and then, and copies the directory, as a process that
// is killed leaves it.
func TestMarksSurviveAKill(t *testing.T) {
	const end = 500
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	rows := &list{t: t, end: end, removed: map[int64]bool{}}
	tasks, err := open(t, dir, rows, false)
	must(t, err)
	consumed := map[int64]bool{}
	for round := range 8 {
		for range 40 {
			switch offset := r.Int64N(end); r.IntN(12) {
			case 0:
				must(t, tasks.Unmark("a"))
				clear(consumed)
			case 1, 2:
				taken, err := tasks.Take("a", []string{"third"}, r.Int64N(20))
				must(t, err)
				for _, o := range taken {
					if consumed[o] || rows.removed[o] || o%3 != 0 {
						t.Fatalf("row %d was taken", o)
					}
					consumed[o] = true
				}
			case 3:
				_, err := tasks.Clear([]int64{offset})
				must(t, err)
				delete(consumed, offset)
			default:
				must(t, tasks.Mark("a", []int64{offset}))
				consumed[offset] = true
			}
		}
		if round%3 == 1 {
			tasks.mu.Lock()
			must(t, tasks.snapshot())
			tasks.mu.Unlock()
		}
		killed := filepath.Join(t.TempDir(), "killed")
		must(t, os.CopyFS(killed, os.DirFS(dir)))
		after, err := open(t, killed, rows, false)
		must(t, err)
		var want []int64
		for i := range int64(end) {
			if !consumed[i] && !rows.removed[i] {
				want = append(want, i)
			}
		}
		if got := ready(t, after, "a"); !slices.Equal(got, want) {
			t.Fatalf("round %d: %v are ready, want %v", round, got, want)
		}
	}
}

func TestEachRowIsLookedAtOnce(t *testing.T) {
	rows := &list{t: t, end: 200, removed: map[int64]bool{130: true}}
	tasks, err := open(t, t.TempDir(), rows, false)
	must(t, err)
	for range 3 {
		if got := ready(t, tasks, "a", "third", "id"); len(got) != 67 || got[66] != 198 {
			t.Fatalf("%v", got)
		}
	}
	if rows.reads != 2 {
		t.Errorf("%d reads for two columns, want 2", rows.reads)
	}
	rows.changes++
	ready(t, tasks, "b", "id")
	if rows.reads != 3 {
		t.Errorf("%d reads after a change, want 3", rows.reads)
	}
	if got := ready(t, tasks, "a", "id", "nothing"); len(got) != 0 {
		t.Errorf("%v have a column that there is not", got)
	}
}

func TestWhatIsMarkedBehindTheLastRowIsForgotten(t *testing.T) {
	dir := t.TempDir()
	rows := &list{t: t, end: 100, removed: map[int64]bool{}}
	tasks, err := open(t, dir, rows, false)
	must(t, err)
	must(t, tasks.Mark("a", []int64{10, 90, 91}))
	killed := filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	rows.end = 50
	after, err := open(t, killed, rows, false)
	must(t, err)
	rows.end = 100 // others have come
	if counts, err := after.Marked(); err != nil || counts["a"] != 1 {
		t.Errorf("%v, %v", counts, err)
	}
}

func TestTasksRefuse(t *testing.T) {
	rows := &list{t: t, end: 10, removed: map[int64]bool{}}
	tasks, err := open(t, t.TempDir(), rows, false)
	must(t, err)
	for name, c := range map[string]struct{ err, want error }{
		"no name":  {tasks.Mark("", []int64{1}), engine.ErrName},
		"beyond":   {tasks.Mark("a", []int64{3, 10}), engine.ErrNotFound},
		"negative": {tasks.Mark("a", []int64{-1}), engine.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	rows.refused = errRefused
	if err := tasks.Unmark("a"); !errors.Is(err, errRefused) {
		t.Errorf("%v", err)
	}
	rows.refused = nil
	must(t, tasks.Close())
	if err := tasks.Mark("a", []int64{1}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a mark after the end: %v", err)
	}
	if _, err := tasks.Marked(); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a question after the end: %v", err)
	}
	if _, err := os.Stat(tasks.path()); err == nil {
		t.Error("a journal was made after the end")
	}
}

func TestAJournalThatIsGoneIsToldUnlessItIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	rows := &list{t: t, end: 10, removed: map[int64]bool{}}
	tasks, err := open(t, dir, rows, false)
	must(t, err)
	must(t, tasks.Mark("a", []int64{1}))
	copied := func() string {
		to := filepath.Join(t.TempDir(), "copy")
		must(t, os.CopyFS(to, os.DirFS(dir)))
		must(t, os.RemoveAll(filepath.Join(to, "marks")))
		return to
	}
	if _, err := open(t, copied(), rows, false); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	after, err := open(t, copied(), rows, true)
	must(t, err)
	if got := ready(t, after, "a"); len(got) != 10 {
		t.Errorf("%v are ready, want all", got)
	}
}
