package bucket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs/faultfs"
)

// numbered is the schema of the test rows: id is the offset at which the test
// expects the row.
var numbered = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

func someRows(t testing.TB, first, n int64) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(memory.Allocator, numbered)
	defer b.Release()
	for i := first; i < first+n; i++ {
		b.Field(0).(*array.Int64Builder).Append(i)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d", i))
	}
	return b.NewRecord()
}

// quiet are options under which nothing happens in the background.
func quiet(change ...func(*options.Options)) options.Options {
	o := options.Default()
	o.FlushInterval = 0
	o.CompactFragments = 0
	o.CutBytes = 0
	for _, f := range change {
		f(&o)
	}
	return o
}

func open(t testing.TB, dir string, o options.Options) *Bucket {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

// appendRows appends n numbered rows and waits for them.
func appendRows(t testing.TB, b *Bucket, n int64) {
	t.Helper()
	first := b.Acknowledged()
	rec := someRows(t, first, n)
	defer rec.Release()
	got, end, err := b.Append(Record{Rows: rec}, false)
	if err != nil {
		t.Fatal(err)
	}
	if got != first || end != first+n {
		t.Fatalf("rows got the offsets %d to %d, want %d to %d", got, end, first, first+n)
	}
	if err := b.Wait(background, end); err != nil {
		t.Fatal(err)
	}
}

// appendMeanwhile appends n rows so many times, beside what the caller does until it
// calls wait.
func appendMeanwhile(t testing.TB, b *Bucket, times, n int64) (wait func()) {
	var puts sync.WaitGroup
	puts.Go(func() {
		for range times {
			appendRows(t, b, n)
		}
	})
	return puts.Wait
}

// ids reads a cursor to its end and returns the column id; -1 is null.
func ids(t testing.TB, c *table.Cursor, err error) []int64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	schema, _ := c.Schema()
	got := []int64{}
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if !rec.Schema().Equal(schema) {
			t.Fatalf("batch has %v, cursor has %v", rec.Schema(), schema)
		}
		column := rec.Column(schema.FieldIndices("id")[0]).(*array.Int64)
		for i := range column.Len() {
			if column.IsNull(i) {
				got = append(got, -1)
				continue
			}
			got = append(got, column.Value(i))
		}
		rec.Release()
	}
}

// wantRows checks that the bucket holds the rows 0 to n, wherever they are.
func wantRows(t testing.TB, b *Bucket, n int64) {
	t.Helper()
	if got := b.Acknowledged(); got != n {
		t.Fatalf("%d rows, want %d", got, n)
	}
	c, err := b.Read(0, n+10, false)
	got := ids(t, c, err)
	if int64(len(got)) != n {
		t.Fatalf("read %d rows, want %d", len(got), n)
	}
	for i, id := range got {
		if id != int64(i) {
			t.Fatalf("row %d at offset %d", id, i)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not in time: %s", what)
}

// slow reports whether the exhaustive variants of tests are asked for.
func slow() bool { return os.Getenv("PERSISTING_SLOW") != "" }

// newDisk is the disk of a machine that was just switched on, with what is below root.
func newDisk(t testing.TB, root string) *faultfs.Disk {
	t.Helper()
	d, err := faultfs.NewDisk(root)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
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
