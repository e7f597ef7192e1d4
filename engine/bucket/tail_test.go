package bucket

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
)

// packable is a message of n rows from row first on, as a bucket packs it.
func packable(t testing.TB, first, n int64) (*arrow.Schema, []byte) {
	t.Helper()
	rec := someRows(t, first, n)
	defer rec.Release()
	e, err := batch.NewEncoder(rec.Schema())
	must(t, err)
	pieces, err := e.Encode(rec)
	must(t, err)
	return rec.Schema(), bytes.Join(pieces, nil)
}

func TestPackedRowsAreReadInOrder(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	schema, _ := packable(t, 0, 1)
	columns, err := batch.NewMessageSchema(schema)
	must(t, err)
	var n int64
	put := func(count int) {
		for range count {
			rows := 1 + n%3
			_, message := packable(t, n, rows)
			first, end, err := b.AppendMessage(columns, message, true)
			must(t, err)
			if first != n || end != n+rows {
				t.Fatalf("rows [%d, %d), want [%d, %d)", first, end, n, n+rows)
			}
			n = end
		}
		must(t, b.Wait(background, n))
	}
	put(10)
	wantRows(t, b, n)
	put(3 * packedCount)
	c, err := b.Read(n-5, 3, true)
	if got := ids(t, c, err); len(got) != 3 || got[0] != n-5 {
		t.Fatalf("rows %v, want 3 from %d", got, n-5)
	}
	appendRows(t, b, 2)
	n += 2
	put(packedCount + 7)
	wantRows(t, b, n)
	must(t, b.Flush())
	put(50)
	wantRows(t, b, n)
	must(t, b.Close())
	b = open(t, dir, quiet())
	wantRows(t, b, n)
}

func TestUndoTakesBackOnlyTheLastRows(t *testing.T) {
	schema, message := packable(t, 0, 2)
	columns, err := batch.NewMessageSchema(schema)
	must(t, err)
	for _, read := range []bool{false, true} {
		var b tail
		for range 3 {
			b.pack(columns, schema, message, 2)
		}
		if read {
			chunks, err := b.slice(1, 6)
			must(t, err)
			release(chunks)
		}
		b.undo(4)
		b.pack(columns, schema, message, 2)
		b.undo(4)
		if b.next != 4 {
			t.Fatalf("next %d, want 4", b.next)
		}
		chunks, err := b.slice(0, 4)
		must(t, err)
		var rows int64
		for _, c := range chunks {
			rows += c.rec.NumRows()
		}
		release(chunks)
		var bytes int64
		for _, c := range b.chunks {
			bytes += c.bytes
		}
		if rows != 4 || bytes != b.bytes {
			t.Errorf("%d rows, %d bytes of %d", rows, bytes, b.bytes)
		}
		b.drop(len(b.chunks))
	}
}
