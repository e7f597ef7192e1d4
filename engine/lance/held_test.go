package lance

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// numbersOf drains a reader whose first column are the ids.
func numbersOf(t *testing.T, r *Reader, err error) (found []int64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, rec.Column(0).(*array.Int64).Int64Values()...)
		rec.Release()
	}
}

// wantIDs are the numbers [from, to) but for those removed.
func wantIDs(from, to int64, removed ...int64) (want []int64) {
	for i := from; i < to; i++ {
		if !slices.Contains(removed, i) {
			want = append(want, i)
		}
	}
	return want
}

// TestHeldFilesOutliveTheirNames reads a version in every way after its files were removed, and
// makes tables in memory on top of it.
func TestHeldFilesOutliveTheirNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b%20é", "t.lance")
	table := createIn(t, dir, ids, Config{})
	for from := int64(0); from < 20_000; from += 10_000 {
		must(t)(table.Append([]arrow.Record{rows(t, from, from+10_000)}))
	}
	must(t)(table.CreateIndex(IndexSpec{Column: "i", Type: "btree"}))
	must(t)(table.Delete("i = 7"))
	first := must(t)(table.Snapshot())
	held := must(t)(Hold(dir, first.Version(), nil, Config{}))
	must(t)(table.Append([]arrow.Record{rows(t, 20_000, 20_001)}))
	second := must(t)(table.Snapshot())
	later := must(t)(Hold(dir, second.Version(), held, Config{}))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(dir, second.Version(), nil, Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that is gone: %v", err)
	}
	for s, end := range map[*Snapshot]int64{held: 20_000, later: 20_001} {
		want := wantIDs(0, end, 7)
		r, err := s.Read(0, 1<<40, nil, 0)
		if got := numbersOf(t, r, err); !slices.Equal(got, want) {
			t.Errorf("read %d of %d rows", len(got), len(want))
		}
		rec, err := s.Take([]int64{end - 1, 0, 11_111}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := rec.Column(0).(*array.Int64).Int64Values(); !slices.Equal(got, []int64{end - 1, 0, 11_111}) {
			t.Errorf("took %d", got)
		}
		rec.Release()
		r, err = s.Query(Query{Filter: "i >= 19999 and i < 20005 or i = 7"}, nil)
		if got := numbersOf(t, r, err); !slices.Equal(got, wantIDs(19_999, end)) {
			t.Errorf("found %d", got)
		}
		memory, err := s.InMemory(Config{})
		if err != nil {
			t.Fatal(err)
		}
		must(t)(memory.AddColumns([]arrow.Field{{Name: "more", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, arrow.Metadata{}))
		after := must(t)(memory.Append([]arrow.Record{rows(t, end, end+3)}))
		closeTable(t, memory)
		r, err = after.Query(Query{Filter: "i > 19999 and more is null"}, nil)
		if got := numbersOf(t, r, err); !slices.Equal(got, wantIDs(20_000, end+3)) {
			t.Errorf("found %d with rows in memory", got)
		}
		r, err = after.Read(0, 1<<40, nil, 0)
		if got := numbersOf(t, r, err); !slices.Equal(got, wantIDs(0, end+3, 7)) {
			t.Errorf("read %d rows with those in memory", len(got))
		}
		if n, err := s.Count("i > 19999"); err != nil || n != end-20_000 {
			t.Errorf("the version below has %d, %v", n, err)
		}
	}
}

// TestCreateInMemory leaves the disk alone.
func TestCreateInMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "t.lance")
	table, err := CreateInMemory(dir, ids, Config{}, rows(t, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer closeTable(t, table)
	s := must(t)(table.Snapshot())
	r, err := s.Query(Query{Filter: "s = 'row 3'"}, nil)
	if got := numbersOf(t, r, err); !slices.Equal(got, []int64{3}) {
		t.Errorf("found %d", got)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is something in %s: %v", dir, err)
	}
}
