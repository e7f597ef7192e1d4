package lance

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// numbers makes a batch of n rows of eight float64 columns.
func numbers(b *testing.B, n int) arrow.Record {
	b.Helper()
	fields := make([]arrow.Field, 8)
	for i := range fields {
		fields[i] = arrow.Field{Name: string(rune('a' + i)), Type: arrow.PrimitiveTypes.Float64}
	}
	builder := array.NewRecordBuilder(alloc, arrow.NewSchema(fields, nil))
	defer builder.Release()
	for i := range fields {
		column := builder.Field(i).(*array.Float64Builder)
		for range n {
			column.Append(rand.Float64())
		}
	}
	rec := builder.NewRecord()
	b.Cleanup(rec.Release)
	return rec
}

const (
	bulkRows  = 1 << 20 // 64 MiB
	rowBytes  = 64
	fragments = 16
)

func BenchmarkAppend64MiB(b *testing.B) {
	rec := numbers(b, bulkRows)
	table := create(b, rec.Schema())
	b.SetBytes(bulkRows * rowBytes)
	for b.Loop() {
		s, err := table.Append([]arrow.Record{rec})
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

func BenchmarkAppend100Rows(b *testing.B) {
	rec := numbers(b, 100)
	table := create(b, rec.Schema())
	n := 0
	for b.Loop() {
		s, err := table.Append([]arrow.Record{rec})
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
		if n++; n%100 == 0 {
			b.StopTimer()
			s, _, err := table.Compact(CompactOptions{})
			if err == nil {
				_, err = table.Cleanup(s.Version())
			}
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
			b.StartTimer()
		}
	}
}

// bulk makes a table of 64 MiB in several fragments.
func bulk(b *testing.B) *Snapshot {
	b.Helper()
	rec := numbers(b, bulkRows/fragments)
	table := create(b, rec.Schema())
	for range fragments - 1 {
		s, err := table.Append([]arrow.Record{rec})
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
	return must(b)(table.Append([]arrow.Record{rec}))
}

func drain(b *testing.B, s *Snapshot, first, count int64) {
	b.Helper()
	r, err := s.Read(first, count, nil, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	n := int64(0)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n += rec.NumRows()
		rec.Release()
	}
	if n != count {
		b.Fatalf("%d rows", n)
	}
}

func BenchmarkScan64MiB(b *testing.B) {
	s := bulk(b)
	b.SetBytes(bulkRows * rowBytes)
	for b.Loop() {
		drain(b, s, 0, bulkRows)
	}
}

func BenchmarkReadOneRow(b *testing.B) {
	s := bulk(b)
	for b.Loop() {
		drain(b, s, rand.Int64N(bulkRows), 1)
	}
}

func BenchmarkTakeOneRow(b *testing.B) {
	s := bulk(b)
	for b.Loop() {
		rec, err := s.Take([]int64{rand.Int64N(bulkRows)}, nil)
		if err != nil {
			b.Fatal(err)
		}
		rec.Release()
	}
}

func BenchmarkRead1000Rows(b *testing.B) {
	s := bulk(b)
	for b.Loop() {
		drain(b, s, rand.Int64N(bulkRows-1000), 1000)
	}
}

func BenchmarkSnapshotAndReadOneRow(b *testing.B) {
	rec := numbers(b, 100)
	table := create(b, rec.Schema())
	for range 1000 {
		s, err := table.Append([]arrow.Record{rec})
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
	for b.Loop() {
		s, err := table.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		drain(b, s, rand.Int64N(100_000), 1)
		s.Release()
	}
}
