package lance

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/arrow/memory/mallocator"
)

var cMemory = mallocator.NewMallocator()

// Exportable returns the record, for the caller to release, without slices of
// structs and booleans. arrow/go exports a sliced struct with its offset and,
// again, with fields that begin there; Lance refuses a struct that has nulls and
// a sliced boolean.
func Exportable(r arrow.Record) arrow.Record {
	if !slices.ContainsFunc(r.Columns(), func(c arrow.Array) bool { return isSliced(c.Data()) }) {
		r.Retain()
		return r
	}
	columns := make([]arrow.Array, r.NumCols())
	for i, c := range r.Columns() {
		data := unsliced(c.Data())
		columns[i] = array.MakeFromData(data)
		data.Release()
		defer columns[i].Release()
	}
	return array.NewRecord(r.Schema(), columns, r.NumRows())
}

// unsliced returns data, or its equal without such slices.
func unsliced(data arrow.ArrayData) arrow.ArrayData {
	if !isSliced(data) {
		data.Retain()
		return data
	}
	offset, n := data.Offset(), data.Len()
	id := data.DataType().ID()
	children := make([]arrow.ArrayData, len(data.Children()))
	for i, child := range data.Children() {
		if id == arrow.STRUCT {
			part := array.NewSliceData(child, int64(offset), int64(offset+n))
			children[i] = unsliced(part)
			part.Release()
		} else {
			children[i] = unsliced(child)
		}
		defer children[i].Release()
	}
	if id != arrow.STRUCT && id != arrow.BOOL {
		return array.NewData(data.DataType(), n, data.Buffers(), children, data.NullN(), offset)
	}
	// All buffers are bitmaps.
	buffers := make([]*memory.Buffer, len(data.Buffers()))
	for i, b := range data.Buffers() {
		if b == nil || b.Len() == 0 {
			continue
		}
		buffers[i] = memory.NewResizableBuffer(cMemory)
		defer buffers[i].Release()
		buffers[i].Resize(int(bitutil.BytesForBits(int64(n))))
		bitutil.CopyBitmap(b.Bytes(), offset, n, buffers[i].Bytes(), 0)
	}
	return array.NewData(data.DataType(), n, buffers, children, data.NullN(), 0)
}

func isSliced(data arrow.ArrayData) bool {
	for _, child := range data.Children() {
		if isSliced(child) {
			return true
		}
	}
	id := data.DataType().ID()
	return data.Offset() != 0 && (id == arrow.STRUCT || id == arrow.BOOL)
}
