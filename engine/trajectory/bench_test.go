package trajectory

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/memory"
)

// BenchmarkAppend appends batches of 1,000 steps of 998 bytes.
func BenchmarkAppend(b *testing.B) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "obs", Type: arrow.FixedSizeListOf(84, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "reward", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "tokens", Type: arrow.FixedSizeListOf(80, arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	}, nil)
	const rows = 1000
	build := array.NewRecordBuilder(memory.Allocator, schema)
	defer build.Release()
	obs, tokens := build.Field(0).(*array.FixedSizeListBuilder), build.Field(2).(*array.FixedSizeListBuilder)
	for i := range rows {
		obs.Append(true)
		tokens.Append(true)
		for k := range 84 {
			obs.ValueBuilder().(*array.Float32Builder).Append(float32(i*k) / 7)
			if k < 80 {
				tokens.ValueBuilder().(*array.Int64Builder).Append(int64(i * k % 1000))
			}
		}
		build.Field(1).(*array.Float32Builder).Append(float32(i))
		build.Field(3).(*array.Int32Builder).Append(int32(i))
	}
	rec := build.NewRecord()
	defer rec.Release()
	s := openStore(b, b.TempDir())
	number, _ := begin(b, s, "a", 0)
	b.SetBytes(rows * 998)
	step := int64(0)
	for b.Loop() {
		if _, err := s.Append(number, step, rec, false); err != nil {
			b.Fatal(err)
		}
		step += rows
	}
	b.ReportMetric(float64(step)/b.Elapsed().Seconds(), "steps/s")
}
