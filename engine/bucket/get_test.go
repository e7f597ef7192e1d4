package bucket

import (
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
)

// wantGot checks the rows that Get gives against what is there; it may not give
// rows that are on disk only.
func wantGot(t testing.TB, b *Bucket, offset, count int64, want []int64) (blocked bool) {
	t.Helper()
	rows, err := b.Get(offset, count)
	if errors.Is(err, engine.ErrWouldBlock) {
		return true
	}
	must(t, err)
	if rows.Record == nil {
		if len(want) > 0 {
			t.Fatalf("no rows at %d, want %v", offset, want)
		}
		return false
	}
	defer rows.Record.Release()
	if got := rows.To - rows.From; got != int64(len(want)) {
		t.Fatalf("%d rows at %d, want %v", got, offset, want)
	}
	id := rows.Record.Column(rows.Record.Schema().FieldIndices("id")[0]).(*array.Int64)
	for i, w := range want {
		if got := id.Value(int(rows.From) + i); got != w {
			t.Fatalf("row %d at %d, want %d", got, offset+int64(i), w)
		}
	}
	return false
}

func TestGet(t *testing.T) {
	const onDisk, all = 5000, 5300
	dir := t.TempDir()
	b := open(t, dir, quiet())
	appendRows(t, b, onDisk)
	must(t, b.Flush())
	must(t, b.Close())
	b = open(t, dir, quiet())
	for n := b.Acknowledged(); n < all; n += 100 {
		appendRows(t, b, 100)
	}
	if !wantGot(t, b, 0, 1, []int64{0}) {
		t.Fatal("the table was read without being opened")
	}
	for _, offset := range []int64{0, 1, 4095, 4096, onDisk - 1, onDisk, onDisk + 99, onDisk + 100, all - 1, all} {
		for _, count := range []int64{0, 1, 2, 150, 1000} {
			want := []int64{}
			for o := offset; o < min(offset+count, all); o++ {
				want = append(want, o)
			}
			c, err := b.ReadRun(offset, count, false)
			if got := ids(t, c, err); len(got) != len(want) {
				t.Fatalf("read %d rows at %d, want %d", len(got), offset, len(want))
			}
			if wantGot(t, b, offset, count, want) {
				t.Errorf("get of %d rows at %d would wait for what was just read", count, offset)
			}
		}
	}
	if _, err := b.Get(-1, 1); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("offset -1: %v", err)
	}
	must(t, b.Close())
	if _, err := b.Get(0, 1); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
