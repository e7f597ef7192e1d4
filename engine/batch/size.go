package batch

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// RowBytes is the size of the rows that rec shows, in bytes: of a slice, only
// that slice.
func RowBytes(rec arrow.Record) int64 { return RangeBytes(rec, 0, rec.NumRows()) }

// RangeBytes is the size of the rows [from, to) of rec, in bytes.
func RangeBytes(rec arrow.Record, from, to int64) int64 {
	var n int64
	for _, c := range rec.Columns() {
		n += arrayBytes(c, int(from), int(to))
	}
	return n
}

func arrayBytes(a arrow.Array, from, to int) int64 {
	// What the rows need, and not what their buffers have: a slice of one row of a large batch
	// counts as that row, though it keeps all of the batch.
	n := int64(to - from)
	if n == 0 {
		return 0
	}
	validity := (n + 7) / 8
	switch a := a.(type) {
	case *array.String:
		return validity + 4*n + int64(a.ValueOffset(to)-a.ValueOffset(from))
	case *array.Binary:
		return validity + 4*n + int64(a.ValueOffset(to-1)+a.ValueLen(to-1)-a.ValueOffset(from))
	case *array.LargeString:
		return validity + 8*n + a.ValueOffset64(to) - a.ValueOffset64(from)
	case *array.LargeBinary:
		return validity + 8*n + a.ValueOffset(to-1) + int64(a.ValueLen(to-1)) - a.ValueOffset(from)
	case *array.Struct:
		size := validity
		for i := range a.NumField() {
			size += arrayBytes(a.Field(i), from, to)
		}
		return size
	case array.ListLike:
		first, _ := a.ValueOffsets(from)
		_, last := a.ValueOffsets(to - 1)
		return validity + 8*n + arrayBytes(a.ListValues(), int(first), int(last))
	}
	if t, ok := a.DataType().(arrow.FixedWidthDataType); ok {
		return validity + n*int64(t.BitWidth())/8
	}
	return validity
}
