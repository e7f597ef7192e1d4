package batch

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

func TestSizeOfRowsIsThatOfTheSlice(t *testing.T) {
	text := func(b interface{ Append(string) }) { b.Append("four") }
	bytes := func(b interface{ Append([]byte) }) { b.Append([]byte("four")) }
	for name, c := range map[string]struct {
		typ  arrow.DataType
		add  func(array.Builder)
		want int64 // of 8 of the 16 rows, with a byte of validity
	}{
		"bool":         {arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }, 1 + 1},
		"int64":        {arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(1) }, 1 + 64},
		"string":       {arrow.BinaryTypes.String, func(b array.Builder) { text(b.(*array.StringBuilder)) }, 1 + 32 + 32},
		"large string": {arrow.BinaryTypes.LargeString, func(b array.Builder) { text(b.(*array.LargeStringBuilder)) }, 1 + 64 + 32},
		"binary":       {arrow.BinaryTypes.Binary, func(b array.Builder) { bytes(b.(*array.BinaryBuilder)) }, 1 + 32 + 32},
		"large binary": {arrow.BinaryTypes.LargeBinary, func(b array.Builder) { bytes(b.(*array.BinaryBuilder)) }, 1 + 64 + 32},
		"list of binary": {arrow.ListOf(arrow.BinaryTypes.Binary), func(b array.Builder) {
			l := b.(*array.ListBuilder)
			l.Append(true)
			bytes(l.ValueBuilder().(*array.BinaryBuilder))
		}, 1 + 64 + 1 + 32 + 32},
	} {
		t.Run(name, func(t *testing.T) {
			b := array.NewBuilder(memory.DefaultAllocator, c.typ)
			defer b.Release()
			for range 16 {
				c.add(b)
			}
			column := b.NewArray()
			defer column.Release()
			schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: c.typ}}, nil)
			whole := array.NewRecord(schema, []arrow.Array{column}, 16)
			defer whole.Release()
			for from, to := int64(0), int64(8); to <= 16; from, to = from+4, to+4 {
				part := whole.NewSlice(from, to)
				defer part.Release()
				if got := RowBytes(part); got != c.want {
					t.Errorf("rows %d to %d have %d bytes, want %d", from, to, got, c.want)
				}
			}
			if got := RowBytes(whole.NewSlice(16, 16)); got != 0 {
				t.Errorf("no rows have %d bytes", got)
			}
		})
	}
}
