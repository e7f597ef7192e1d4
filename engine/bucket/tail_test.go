package bucket

import (
	"bytes"
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/tail"
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
			first, end, err := b.Append(Message{columns, message}, true)
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
	put(3 * tail.PackedCount)
	c, err := b.Read(n-5, 3, true)
	if got := ids(t, c, err); len(got) != 3 || got[0] != n-5 {
		t.Fatalf("rows %v, want 3 from %d", got, n-5)
	}
	appendRows(t, b, 2)
	n += 2
	put(tail.PackedCount + 7)
	wantRows(t, b, n)
	must(t, b.Flush())
	put(50)
	wantRows(t, b, n)
	must(t, b.Close())
	b = open(t, dir, quiet())
	wantRows(t, b, n)
}

func TestWhatTheLogRefusesIsNotThere(t *testing.T) {
	schema, message := packable(t, 0, 2)
	columns, err := batch.NewMessageSchema(schema)
	must(t, err)
	rec := someRows(t, 2, 2)
	defer rec.Release()
	for name, rows := range map[string]Batch{"message": Message{columns, message}, "record": Record{Rows: rec}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir(), quiet())
			for range 2 { // the first makes the columns, and the second goes into the tail as it is
				_, end, err := b.Append(rows, false)
				must(t, err)
				must(t, b.Wait(background, end))
			}
			before := b.rows.tail
			tally := b.rows.tally
			b.ingest.appending.Lock()
			e, err := rows.entry(b.ingest, 2, false)
			must(t, err)
			b.log.Abort(errors.New("no more"))
			_, _, err = b.ingest.store(e)
			b.ingest.appending.Unlock()
			if !errors.Is(err, engine.ErrPoisoned) {
				t.Fatalf("the put gives %v", err)
			}
			after := b.rows.tail
			if after.Next() != before.Next() || after.Bytes() != before.Bytes() || len(after.Chunks()) != len(before.Chunks()) || b.rows.tally != tally {
				t.Errorf("the tail was %+v and is %+v, the counts were %+v and are %+v", before, after, tally, b.rows.tally)
			}
			if err := b.Close(); !errors.Is(err, engine.ErrPoisoned) {
				t.Errorf("the close gives %v", err)
			}
		})
	}
}
