package bucket

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/tasks"
)

// readyOf lists the rows that are ready for a task.
func readyOf(t testing.TB, b *Bucket, task string, columns ...string) []int64 {
	t.Helper()
	found := []int64{}
	must(t, b.Tasks().Ready(task, columns, func(first int64, rows uint64) bool {
		for i := range int64(64) {
			if rows>>i&1 != 0 {
				found = append(found, first+i)
			}
		}
		return true
	}))
	return found
}

func numbers(from, to int64) []int64 {
	all := []int64{}
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func same(t testing.TB, got, want []int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%d rows %v..., want %d %v...", len(got), got[:min(len(got), 9)], len(want), want[:min(len(want), 9)])
	}
}

// appendSparse appends rows of which every third has a value in the column "sparse".
func appendSparse(t testing.TB, b *Bucket, n int64) {
	t.Helper()
	schema := arrow.NewSchema(append(numbered.Fields(), arrow.Field{Name: "sparse", Type: arrow.PrimitiveTypes.Float64, Nullable: true}), nil)
	builder := array.NewRecordBuilder(memory.Allocator, schema)
	defer builder.Release()
	for i := b.Acknowledged(); n > 0; i, n = i+1, n-1 {
		builder.Field(0).(*array.Int64Builder).Append(i)
		builder.Field(1).AppendNull()
		if i%3 == 0 {
			builder.Field(2).(*array.Float64Builder).Append(0)
		} else {
			builder.Field(2).AppendNull()
		}
	}
	rec := builder.NewRecord()
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	must(t, err)
	must(t, b.Wait(background, end))
}

func TestATaskGetsEachRowOnce(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	same(t, readyOf(t, b, "train", "id"), []int64{})
	appendRows(t, b, 100)
	appendSparse(t, b, 200)
	same(t, readyOf(t, b, "train", "id"), numbers(0, 300))
	same(t, readyOf(t, b, "train", "text"), numbers(0, 100))
	same(t, readyOf(t, b, "train"), numbers(0, 300))
	same(t, readyOf(t, b, "train", "nope"), []int64{})
	same(t, readyOf(t, b, "train", "id", "nope"), []int64{})
	sparse := readyOf(t, b, "train", "sparse")
	if len(sparse) != 66 || sparse[0] != 102 || sparse[65] != 297 {
		t.Errorf("%v", sparse)
	}
	taken, err := b.Tasks().Take("train", []string{"id"}, 70)
	must(t, err)
	same(t, taken, numbers(0, 70))
	must(t, b.Flush())
	must(t, b.Tasks().Mark("train", []int64{299, 70, 71, 299}))
	taken, err = b.Tasks().Take("other", []string{"sparse", "id"}, 1000)
	must(t, err)
	same(t, taken, sparse)
	check := func(b *Bucket) {
		same(t, readyOf(t, b, "train", "id"), numbers(72, 299))
		same(t, readyOf(t, b, "other", "id", "sparse"), []int64{})
		same(t, readyOf(t, b, "new", "sparse"), sparse)
	}
	check(b)
	must(t, b.Close())
	b = open(t, dir, quiet())
	check(b)
	must(t, b.Tasks().Unmark("other"))
	same(t, readyOf(t, b, "other", "sparse"), sparse)
	if counts, err := b.Tasks().Marked(); err != nil || len(counts) != 1 || counts["train"] != 73 {
		t.Errorf("%v, %v", counts, err)
	}
	appendRows(t, b, 10)
	must(t, b.Compact())
	same(t, readyOf(t, b, "other", "text"), append(numbers(0, 100), numbers(300, 310)...))
	for name, err := range map[string]error{
		"beyond":   b.Tasks().Mark("train", []int64{310}),
		"negative": b.Tasks().Mark("train", []int64{-1}),
	} {
		if !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, task := range []string{"", strings.Repeat("x", tasks.MaxName+1)} {
		if err := b.Tasks().Mark(task, []int64{1}); !errors.Is(err, engine.ErrName) {
			t.Errorf("a task of %d bytes: %v", len(task), err)
		}
	}
}

// TestRemovedRowsAreNotReady removes rows in all the ways that there are.
func TestRemovedRowsAreNotReady(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	appendRows(t, b, 1000)
	must(t, b.Tasks().Mark("a", numbers(0, 500)))
	same(t, readyOf(t, b, "a", "id"), numbers(500, 1000))
	removed, err := b.Tasks().Clear([]int64{999, 499, 501, 999})
	must(t, err)
	if removed != 3 {
		t.Errorf("%d rows were removed, want 3", removed)
	}
	want := append([]int64{500}, numbers(502, 999)...)
	same(t, readyOf(t, b, "a", "id"), want)
	if removed, err = b.Tasks().Clear([]int64{501}); err != nil || removed != 0 {
		t.Errorf("%d, %v", removed, err)
	}
	if _, err := b.Tasks().Clear([]int64{1000}); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if counts, err := b.Tasks().Marked(); err != nil || counts["a"] != 499 {
		t.Errorf("%v, %v", counts, err)
	}
	_, err = b.Delete("id >= 600 AND id < 700")
	must(t, err)
	want = slices.DeleteFunc(want, func(i int64) bool { return i >= 600 && i < 700 })
	same(t, readyOf(t, b, "a", "id"), want)
	_, err = b.TruncateBefore(550)
	must(t, err)
	want = slices.DeleteFunc(want, func(i int64) bool { return i < 550 })
	same(t, readyOf(t, b, "a", "id"), want)
	must(t, b.Close())
	b = open(t, dir, quiet())
	same(t, readyOf(t, b, "a", "id"), want)
	must(t, b.Columns().Drop("text"))
	same(t, readyOf(t, b, "a", "text"), []int64{})
	same(t, readyOf(t, b, "a", "id"), want)
	must(t, b.Columns().Rename("id", "number"))
	same(t, readyOf(t, b, "a", "id"), []int64{})
	same(t, readyOf(t, b, "a", "number"), want)
}

// TestManyRowsAreAskedForByAQuery has more rows than are read as they are, of names that have to be quoted.
func TestManyRowsAreAskedForByAQuery(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	appendRows(t, b, tasks.ReadRows+5000)
	appendSparse(t, b, 100)
	must(t, b.Columns().Rename("sparse", "a`b c"))
	same(t, readyOf(t, b, "x", "text"), numbers(0, tasks.ReadRows+5000))
	thirds := slices.DeleteFunc(numbers(tasks.ReadRows+5000, tasks.ReadRows+5100), func(i int64) bool { return i%3 != 0 })
	same(t, readyOf(t, b, "x", "a`b c"), thirds)
	same(t, readyOf(t, b, "x"), numbers(0, tasks.ReadRows+5100))
	appendRows(t, b, tasks.ReadRows+1)
	if n := int64(len(readyOf(t, b, "x", "text"))); n != 2*tasks.ReadRows+5001 {
		t.Errorf("%d rows have a text", n)
	}
}

func TestConcurrentTakersShareNoRow(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	const rows = 5000
	wait := appendMeanwhile(t, b, 50, rows/50)
	var mu sync.Mutex
	seen := map[int64]int{}
	var takers sync.WaitGroup
	for range 8 {
		takers.Go(func() {
			for {
				taken, err := b.Tasks().Take("train", []string{"id"}, 7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, offset := range taken {
					seen[offset]++
				}
				done := len(seen) == rows
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	wait()
	takers.Wait()
	for offset, times := range seen {
		if times != 1 {
			t.Errorf("row %d was taken %d times", offset, times)
		}
	}
}

// TestMarksOfLostRowsAreForgotten loses rows as a kill does that hits a bucket without a log: others come to their offsets.
func TestMarksOfLostRowsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	o := quiet(func(o *options.Options) { o.EnableWAL = false })
	b := open(t, dir, o)
	appendRows(t, b, 10)
	must(t, b.Flush())
	appendRows(t, b, 10)
	must(t, b.Tasks().Mark("a", numbers(5, 20)))
	killed := filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	after := open(t, killed, o)
	appendRows(t, after, 5)
	same(t, readyOf(t, after, "a"), append(numbers(0, 5), numbers(10, 15)...))
	must(t, after.Close())
	same(t, readyOf(t, open(t, killed, o), "a"), append(numbers(0, 5), numbers(10, 15)...))
}

// TestMarksSurviveAKill copies the directory at random moments, as a process that is killed leaves it.
func TestMarksSurviveAKill(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	b := open(t, dir, quiet())
	appendRows(t, b, 2000)
	want := map[int64]bool{}
	for range 6 {
		for range 30 {
			switch r.IntN(10) {
			case 0:
				must(t, b.Tasks().Unmark("a"))
				clear(want)
			case 1, 2:
				taken, err := b.Tasks().Take("a", []string{"id"}, r.Int64N(40))
				must(t, err)
				for _, offset := range taken {
					want[offset] = true
				}
			default:
				offset := r.Int64N(2000)
				must(t, b.Tasks().Mark("a", []int64{offset}))
				want[offset] = true
			}
		}
		killed := filepath.Join(t.TempDir(), "killed")
		must(t, os.CopyFS(killed, os.DirFS(dir)))
		after := open(t, killed, quiet())
		left := slices.DeleteFunc(numbers(0, 2000), func(i int64) bool { return want[i] })
		same(t, readyOf(t, after, "a"), left)
		must(t, after.Close())
	}
}

// TestDamagedMarksAreToldAndRepaired damages the journal, and takes it away.
func TestDamagedMarksAreToldAndRepaired(t *testing.T) {
	damage := map[string]func(path string) error{
		"gone": os.RemoveAll,
		"snapshot": func(path string) error {
			return os.WriteFile(filepath.Join(path, "snapshot"), []byte("nothing"), 0o600)
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, quiet())
			appendRows(t, b, 50)
			must(t, b.Tasks().Mark("a", numbers(0, 20)))
			must(t, b.Close())
			if x := examine(t, dir); !x.Sound {
				t.Fatalf("%v", x.Faults)
			}
			must(t, do(filepath.Join(dir, layout.MarksDir)))
			x := examine(t, dir)
			if x.Sound || !strings.Contains(x.Faults[0].File, layout.MarksDir) {
				t.Fatalf("%v", x.Faults)
			}
			unchanged(t, dir, func() {
				if _, err := Open(dir, quiet()); !errors.Is(err, engine.ErrCorrupt) {
					t.Fatalf("opened: %v", err)
				}
			})
			done, err := inspect.Repair(dir, true, Salvage)
			must(t, err)
			if !strings.Contains(strings.Join(done.Steps, "\n"), "tasks consumed") || !done.After.Sound {
				t.Errorf("%q, %v", done.Steps, done.After.Faults)
			}
			b = open(t, dir, quiet())
			wantRows(t, b, 50)
			must(t, b.Tasks().Mark("a", []int64{1}))
		})
	}
}
