package lance

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Rows larger than the I/O buffer, and batches of large rows, neither hang nor
// come in one piece.
func TestLargeRows(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 500 MB of memory")
	}
	schema := arrow.NewSchema([]arrow.Field{ids.Field(0), {Name: "b", Type: arrow.BinaryTypes.LargeBinary}}, nil)
	table := createIn(t, t.TempDir()+"/t.lance", schema, Config{IOBufferBytes: 8 << 20})
	const n = 24
	noise := make([]byte, 40<<20)
	for i := 0; i < len(noise); i += 8 {
		binary.LittleEndian.PutUint64(noise[i:], rand.Uint64())
	}
	size := func(i int64) int { return []int{1 << 20, 40 << 20, 10, 5 << 20}[i%4] }
	for first := int64(0); first < n; first += 4 {
		b := array.NewRecordBuilder(alloc, schema)
		for i := first; i < first+4; i++ {
			b.Field(0).(*array.Int64Builder).Append(i)
			value := noise[:size(i)]
			value[0] = byte(i)
			b.Field(1).(*array.BinaryBuilder).Append(value)
		}
		rec := b.NewRecord()
		must(t)(table.Append([]arrow.Record{rec}))
		rec.Release()
		b.Release()
	}
	check := func(s *Snapshot) {
		t.Helper()
		r, err := s.Read(0, n, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for next := int64(0); next < n; {
			rec, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if rec.NumRows() == n {
				t.Fatal("everything came in one batch")
			}
			column := rec.Column(1).(*array.LargeBinary)
			for i := range column.Len() {
				if v := column.Value(i); len(v) != size(next) || v[0] != byte(next) || !bytes.Equal(v[1:], noise[1:size(next)]) {
					t.Fatalf("row %d has %d bytes", next, len(v))
				}
				next++
			}
			rec.Release()
		}
	}
	check(must(t)(table.Snapshot()))
	s, stats, err := table.Compact(CompactOptions{TargetBytes: 1 << 30})
	merged := must(t)(s, err)
	if merged.Fragments() != 1 {
		t.Fatalf("%+v", stats)
	}
	check(merged)
}
