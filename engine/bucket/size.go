package bucket

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/memory"
)

// rowBytes is the size of the rows that rec shows, in bytes: of a slice, only
// that slice.
func rowBytes(rec arrow.Record) int64 { return rangeBytes(rec, 0, rec.NumRows()) }

// rangeBytes is the size of the rows [from, to) of rec, in bytes.
func rangeBytes(rec arrow.Record, from, to int64) int64 {
	var n int64
	for _, c := range rec.Columns() {
		n += arrayBytes(c, int(from), int(to))
	}
	return n
}

func arrayBytes(a arrow.Array, from, to int) int64 {
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

func releaseAll(recs []arrow.Record) {
	for _, r := range recs {
		r.Release()
	}
}

// concat joins batches of one schema into one. The caller releases the result.
func concat(schema *arrow.Schema, recs []arrow.Record) (arrow.Record, error) {
	if len(recs) == 1 {
		recs[0].Retain()
		return recs[0], nil
	}
	var rows int64
	for _, r := range recs {
		rows += r.NumRows()
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	parts := make([]arrow.Array, len(recs))
	for i := range columns {
		for j, r := range recs {
			parts[j] = r.Column(i)
		}
		joined, err := array.Concatenate(parts, memory.Allocator)
		if err != nil {
			return nil, err
		}
		columns[i] = joined
	}
	return array.NewRecord(schema, columns, rows), nil
}
