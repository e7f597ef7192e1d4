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

// Exportable returns the record with no struct array sliced, for the caller to
// release: arrow/go exports a sliced struct with its offset and, again, with
// fields that begin there.
func Exportable(r arrow.Record) arrow.Record {
	if !slices.ContainsFunc(r.Columns(), func(c arrow.Array) bool { return hasSlicedStruct(c.Data()) }) {
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

// unsliced returns data, or its equal without slices of structs.
func unsliced(data arrow.ArrayData) arrow.ArrayData {
	if !hasSlicedStruct(data) {
		data.Retain()
		return data
	}
	offset, n := data.Offset(), data.Len()
	buffers := data.Buffers()
	children := make([]arrow.ArrayData, len(data.Children()))
	for i, child := range data.Children() {
		if data.DataType().ID() != arrow.STRUCT {
			children[i] = unsliced(child)
		} else {
			part := array.NewSliceData(child, int64(offset), int64(offset+n))
			children[i] = unsliced(part)
			part.Release()
		}
		defer children[i].Release()
	}
	if data.DataType().ID() == arrow.STRUCT {
		if valid := buffers[0]; valid != nil && valid.Len() > 0 {
			part := memory.NewResizableBuffer(cMemory)
			defer part.Release()
			part.Resize(int(bitutil.BytesForBits(int64(n))))
			bitutil.CopyBitmap(valid.Bytes(), offset, n, part.Bytes(), 0)
			buffers = []*memory.Buffer{part}
		}
		offset = 0
	}
	return array.NewData(data.DataType(), n, buffers, children, data.NullN(), offset)
}

func hasSlicedStruct(data arrow.ArrayData) bool {
	for _, child := range data.Children() {
		if hasSlicedStruct(child) {
			return true
		}
	}
	return data.DataType().ID() == arrow.STRUCT && data.Offset() != 0
}
