package lance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory/mallocator"
)

// alloc gives C memory, as the package asks for.
var alloc = mallocator.NewMallocator()

// ids is the schema of most tests: an int64 that equals the row id, and a text.
var ids = arrow.NewSchema([]arrow.Field{
	{Name: "i", Type: arrow.PrimitiveTypes.Int64},
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// rows makes a batch of ids for the rows [from, to).
func rows(t testing.TB, from, to int64) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(alloc, ids)
	defer b.Release()
	for i := from; i < to; i++ {
		b.Field(0).(*array.Int64Builder).Append(i)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
	}
	r := b.NewRecord()
	t.Cleanup(r.Release)
	return r
}

func create(t testing.TB, schema *arrow.Schema) *Table {
	t.Helper()
	return createIn(t, filepath.Join(t.TempDir(), "t.lance"), schema, Config{})
}

func createIn(t testing.TB, dir string, schema *arrow.Schema, cfg Config) *Table {
	t.Helper()
	table, err := Create(dir, schema, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTable(t, table) })
	return table
}

func open(t testing.TB, dir string) *Table {
	t.Helper()
	table, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTable(t, table) })
	return table
}

func closeTable(t testing.TB, table *Table) {
	t.Helper()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
}

// must returns a snapshot that is released at the end of the test.
func must(t testing.TB) func(*Snapshot, error) *Snapshot {
	return func(s *Snapshot, err error) *Snapshot {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Release)
		return s
	}
}

// appendRows appends the rows [from, to) of ids.
func appendRows(t testing.TB, table *Table, from, to int64) *Snapshot {
	t.Helper()
	return must(t)(table.Append([]arrow.Record{rows(t, from, to)}))
}

// readAll reads to the end; the records are released with the test.
func readAll(t testing.TB, s *Snapshot, first, count int64, columns []string, batchRows int) []arrow.Record {
	t.Helper()
	r, err := s.Read(first, count, columns, batchRows)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var records []arrow.Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(rec.Release)
		records = append(records, rec)
	}
}

// ints collects the column i.
func ints(records []arrow.Record) []int64 {
	out := []int64{}
	for _, r := range records {
		column := r.Column(r.Schema().FieldIndices("i")[0]).(*array.Int64)
		out = append(out, column.Int64Values()...)
	}
	return out
}

func span(from, to int64) []int64 {
	out := make([]int64, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// checkIDs reads everything and expects the rows [0, n) in order.
func checkIDs(t testing.TB, s *Snapshot, n int64) {
	t.Helper()
	records := readAll(t, s, 0, n+10, nil, 0)
	if got := ints(records); !slices.Equal(got, span(0, n)) {
		t.Fatalf("%d rows out of order or missing: %v ...", len(got), got[:min(len(got), 20)])
	}
	for _, r := range records {
		text := r.Column(1).(*array.String)
		for i, id := range r.Column(0).(*array.Int64).Int64Values() {
			if text.Value(i) != fmt.Sprint("row ", id) {
				t.Fatalf("row %d has the text %q", id, text.Value(i))
			}
		}
	}
}

func TestAppendAndRead(t *testing.T) {
	table := create(t, ids)
	empty := must(t)(table.Snapshot())
	if empty.Version() != 1 || empty.Rows() != 0 || empty.NextRowID() != 0 || empty.Fragments() != 0 {
		t.Fatalf("new table: %+v", empty.info)
	}
	if got := readAll(t, empty, 0, 10, nil, 0); len(got) != 0 {
		t.Fatalf("read %d batches of an empty table", len(got))
	}
	first := must(t)(table.Append([]arrow.Record{rows(t, 0, 10), rows(t, 10, 11), rows(t, 11, 11)}))
	if first.Rows() != 11 || first.NextRowID() != 11 || first.Fragments() != 1 || first.DataBytes() == 0 {
		t.Fatalf("after one append: %+v", first.info)
	}
	second := appendRows(t, table, 11, 9000)
	checkIDs(t, second, 9000)
	checkIDs(t, first, 11)
	if again := must(t)(table.Append(nil)); again.Version() != second.Version() {
		t.Fatalf("an append of nothing made version %d", again.Version())
	}
	if !second.Schema().Equal(ids) {
		t.Fatalf("schema %s", second.Schema())
	}
}

func TestReadRanges(t *testing.T) {
	table := create(t, ids)
	const n = 30_000
	for _, cut := range [][2]int64{{0, 1}, {1, 5000}, {5000, 5001}, {5001, n}} {
		appendRows(t, table, cut[0], cut[1])
	}
	s := must(t)(table.Snapshot())
	for name, c := range map[string]struct {
		first, count int64
		batchRows    int
		want         []int64
	}{
		"nothing":             {5, 0, 0, nil},
		"past the end":        {n, 10, 0, nil},
		"far past the end":    {1 << 62, 1 << 62, 0, nil},
		"one row":             {5000, 1, 0, span(5000, 5001)},
		"across fragments":    {4990, 20, 7, span(4990, 5010)},
		"clipped":             {n - 3, 1000, 0, span(n-3, n)},
		"all, streamed":       {0, n, 1000, span(0, n)},
		"most, streamed":      {1, n, 0, span(1, n)},
		"one row a batch":     {10, 100, 1, span(10, 110)},
		"a batch of 4 G rows": {0, n, 1<<32 - 1, span(0, n)},
	} {
		t.Run(name, func(t *testing.T) {
			records := readAll(t, s, c.first, c.count, nil, c.batchRows)
			if got := ints(records); !slices.Equal(got, c.want) {
				t.Fatalf("got %d rows, want %d", len(got), len(c.want))
			}
			for _, r := range records {
				if r.NumRows() == 0 || c.batchRows > 0 && r.NumRows() > int64(c.batchRows) {
					t.Fatalf("a batch of %d rows", r.NumRows())
				}
			}
		})
	}
}

func TestReadColumns(t *testing.T) {
	table := create(t, ids)
	s := appendRows(t, table, 0, 100)
	records := readAll(t, s, 10, 5, []string{"s", "i"}, 0)
	if len(records) != 1 || records[0].ColumnName(0) != "s" || !slices.Equal(ints(records), span(10, 15)) {
		t.Fatalf("got %v", records)
	}
	for name, c := range map[string]struct {
		columns []string
		want    error
	}{
		"unknown": {[]string{"x"}, ErrSchema},
		"none":    {[]string{}, ErrInvalid},
		"twice":   {[]string{"i", "i"}, ErrInvalid},
	} {
		if _, err := s.Read(0, 1, c.columns, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Take([]int64{0}, c.columns); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTake(t *testing.T) {
	table := create(t, ids)
	appendRows(t, table, 0, 100)
	appendRows(t, table, 100, 3000)
	s := appendRows(t, table, 3000, 3001)
	for name, want := range map[string][]int64{
		"one":        {77},
		"range":      span(40, 60),
		"rising":     {3, 9, 2000, 3000},
		"falling":    {3000, 2000, 100, 99, 0},
		"repeated":   {5, 5, 5, 2999, 5},
		"everything": span(0, 3001),
		"none":       {},
	} {
		t.Run(name, func(t *testing.T) {
			rec, err := s.Take(want, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Release()
			if got := ints([]arrow.Record{rec}); !slices.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			if !rec.Schema().Equal(ids) {
				t.Fatalf("schema %s", rec.Schema())
			}
			again, err := s.TakeNow(want)
			if errors.Is(err, ErrWouldBlock) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer again.Release()
			if got := ints([]arrow.Record{again}); !slices.Equal(got, want) {
				t.Fatalf("from memory %v, want %v", got, want)
			}
		})
	}
	for _, ids := range [][]int64{{3001}, {-1}, {0, 1 << 60}} {
		if _, err := s.Take(ids, nil); !errors.Is(err, ErrRowNotFound) {
			t.Errorf("take %v: %v", ids, err)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	table := create(t, ids)
	build := func(schema *arrow.Schema, cells ...string) arrow.Record {
		t.Helper()
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		for i, cell := range cells {
			if err := b.Field(i).AppendValueFromString(cell); err != nil {
				t.Fatal(err)
			}
		}
		r := b.NewRecord()
		t.Cleanup(r.Release)
		return r
	}
	i, s := ids.Field(0), ids.Field(1)
	other := arrow.Field{Name: "i", Type: arrow.PrimitiveTypes.Float64}
	for name, batches := range map[string][]arrow.Record{
		"unknown column":   {build(arrow.NewSchema([]arrow.Field{i, {Name: "x", Type: s.Type}}, nil), "1", "x")},
		"other type":       {build(arrow.NewSchema([]arrow.Field{other}, nil), "1.5")},
		"column twice":     {build(arrow.NewSchema([]arrow.Field{i, i}, nil), "1", "2")},
		"required missing": {build(arrow.NewSchema([]arrow.Field{s}, nil), "x")},
		"two schemas":      {rows(t, 0, 1), build(arrow.NewSchema([]arrow.Field{i}, nil), "1")},
		"no columns":       {array.NewRecord(arrow.NewSchema(nil, nil), nil, 3)},
	} {
		if _, err := table.Append(batches); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := must(t)(table.Snapshot()); s.Version() != 1 {
		t.Fatalf("a refused append made version %d", s.Version())
	}
	only := build(arrow.NewSchema([]arrow.Field{i}, nil), "0")
	got := must(t)(table.Append([]arrow.Record{only}))
	if r := readAll(t, got, 0, 1, []string{"s"}, 0); r[0].Column(0).NullN() != 1 {
		t.Fatalf("a missing column reads as %v", r)
	}
}

func TestOpenAndCreate(t *testing.T) {
	for _, name := range []string{"plain", "with space", "ünïcödé ☃", "a%20b#c?d&e", "x.y", "s3:", "tilde~"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name, "t-1_a.b.lance")
			if _, err := Open(dir, Config{}); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("open of nothing: %v", err)
			}
			table := createIn(t, dir, ids, Config{})
			appendRows(t, table, 0, 10)
			if _, err := Create(dir, ids, Config{}); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("create over a table: %v", err)
			}
			closeTable(t, table)
			s := must(t)(open(t, dir).Snapshot())
			checkIDs(t, s, 10)
		})
	}
	for _, dir := range []string{"", "t", ".lance", "/tmp/x.lanc", "a b.lance", "é.lance"} {
		if _, err := Open(dir, Config{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("open %q: %v", dir, err)
		}
		if _, err := Create(dir, ids, Config{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("create %q: %v", dir, err)
		}
	}
	bad := Config{Compression: "gzip", IOBufferBytes: -1, OpenFragments: -1}
	if err := bad.Validate(); err == nil || !errors.Is(err, ErrInvalid) {
		t.Errorf("bad configuration: %v", err)
	}
	if _, err := Create(filepath.Join(t.TempDir(), "t.lance"), arrow.NewSchema(nil, nil), Config{}); !errors.Is(err, ErrSchema) {
		t.Errorf("no columns: %v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	table := create(t, ids)
	s, err := table.Append([]arrow.Record{rows(t, 0, 10_000)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(0, 10_000, nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	closeTable(t, table)
	closeTable(t, table)
	if _, err := table.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot of a closed table: %v", err)
	}
	if _, err := table.Append([]arrow.Record{rows(t, 0, 1)}); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed table: %v", err)
	}
	if _, err := table.Cleanup(5); !errors.Is(err, ErrClosed) {
		t.Errorf("cleanup of a closed table: %v", err)
	}
	checkIDs(t, s, 10_000)
	s.Release()
	if _, err := s.Read(0, 1, nil, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a released snapshot: %v", err)
	}
	if _, err := s.Take([]int64{0}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("take from a released snapshot: %v", err)
	}
	if _, err := ChangedFiles(nil, s); !errors.Is(err, ErrClosed) {
		t.Errorf("files of a released snapshot: %v", err)
	}
	rec, err := r.Next()
	if err != nil {
		t.Fatalf("a reader ends with its snapshot: %v", err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if got := rec.Column(0).(*array.Int64).Value(99); got != 99 {
		t.Errorf("a batch ends with its reader: row 99 is %d", got)
	}
	rec.Release()
	if _, err := r.Next(); !errors.Is(err, ErrClosed) {
		t.Errorf("next of a closed reader: %v", err)
	}
}

func TestNothingLeaks(t *testing.T) {
	before, bytes := live(), alloc.AllocatedBytes()
	t.Run("work", func(t *testing.T) {
		table := create(t, ids)
		s := appendRows(t, table, 0, 20_000)
		readAll(t, s, 0, 20_000, nil, 1000)
		r, err := s.Read(0, 20_000, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		rec.Release()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Take([]int64{1 << 40}, nil); err == nil {
			t.Fatal("took a row that is not there")
		}
		if _, err := ChangedFiles(nil, s); err != nil {
			t.Fatal(err)
		}
		if _, err := heal(table.Dir()); err != nil {
			t.Fatal(err)
		}
	})
	runtime.GC()
	if after := live(); after != before {
		t.Errorf("native objects: %v before, %v after", before, after)
	}
	if after := alloc.AllocatedBytes(); after != bytes {
		t.Errorf("C memory: %d bytes before, %d after", bytes, after)
	}
}
