package lance

import (
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/arrow/memory/mallocator"
)

// cMemory is of C, and not of the Go heap: the other side may keep what it is given after the call.
var cMemory = mallocator.NewMallocator()

// Exportable returns the record, for the caller to release, without slices that
// do not survive the way to Lance: arrow/go exports a sliced struct with its
// offset and, again, with fields that begin there, and Lance refuses a struct
// that has nulls and a boolean that begins anywhere but at the start, as it does
// when a list of structs begins later.
func Exportable(r arrow.Record) arrow.Record {
	// Most batches are whole, and go as they are.
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

func isSliced(data arrow.ArrayData) bool {
	return beginsLate(data) || slices.ContainsFunc(data.Children(), isSliced)
}

// beginsLate says whether data itself, whatever its children, has to be moved to
// the start of its buffers.
func beginsLate(data arrow.ArrayData) bool {
	switch data.DataType().ID() {
	case arrow.STRUCT, arrow.BOOL:
		return data.Offset() != 0
	case arrow.LIST, arrow.MAP, arrow.LARGE_LIST:
		// A list itself may begin anywhere: it is the struct below it that may not.
		first, _ := childRange(data)
		return first != 0 && hasStruct(data.Children()[0])
	}
	return false
}

func hasStruct(data arrow.ArrayData) bool {
	return data.DataType().ID() == arrow.STRUCT || slices.ContainsFunc(data.Children(), hasStruct)
}

// childRange gives the part of a struct's or a list's children that it uses.
func childRange(data arrow.ArrayData) (first, end int64) {
	offset, n := data.Offset(), data.Len()
	switch data.DataType().ID() {
	case arrow.STRUCT:
		return int64(offset), int64(offset + n)
	case arrow.LARGE_LIST:
		if ends := offsets[int64](data); n > 0 {
			return ends[0], ends[n]
		}
	default:
		if ends := offsets[int32](data); n > 0 {
			return int64(ends[0]), int64(ends[n])
		}
	}
	return 0, 0
}

// offsets gives the n + 1 ends of the items of a list.
func offsets[O int32 | int64](data arrow.ArrayData) []O {
	if data.Len() == 0 {
		return nil
	}
	return arrow.GetData[O](data.Buffers()[1].Bytes())[data.Offset() : data.Offset()+data.Len()+1]
}

// unsliced returns data, or its equal without such slices.
func unsliced(data arrow.ArrayData) arrow.ArrayData {
	if !isSliced(data) {
		data.Retain()
		return data
	}
	n, offset, buffers := data.Len(), data.Offset(), data.Buffers()
	moved := beginsLate(data)
	if moved {
		buffers = movedBuffers(data)
		for _, b := range buffers {
			if b != nil {
				defer b.Release()
			}
		}
		offset = 0
	}
	children := make([]arrow.ArrayData, len(data.Children()))
	for i, child := range data.Children() {
		if moved {
			child = part(child, data)
			defer child.Release()
		}
		// Whether it was moved or not, as what is below may begin late for itself.
		children[i] = unsliced(child)
		defer children[i].Release()
	}
	return array.NewData(data.DataType(), n, buffers, children, data.NullN(), offset)
}

// part gives what a struct or a list uses of its child. Texts of which nothing is
// used would still begin at some offset, which arrow-rs takes for damage.
func part(child, of arrow.ArrayData) arrow.ArrayData {
	first, end := childRange(of)
	if first < end {
		return array.NewSliceData(child, first, end)
	}
	b := array.NewBuilder(cMemory, child.DataType())
	defer b.Release()
	empty := b.NewArray()
	defer empty.Release()
	empty.Data().Retain()
	return empty.Data()
}

// movedBuffers copies the buffers of a struct, a boolean or a list, as if it
// began at their start.
func movedBuffers(data arrow.ArrayData) []*memory.Buffer {
	buffers := make([]*memory.Buffer, len(data.Buffers()))
	for i, b := range data.Buffers() {
		switch {
		case b == nil || b.Len() == 0:
		case i == 1 && data.DataType().ID() == arrow.LARGE_LIST:
			buffers[i] = rebased(offsets[int64](data))
		case i == 1 && data.DataType().ID() != arrow.BOOL:
			buffers[i] = rebased(offsets[int32](data))
		default:
			buffers[i] = newBuffer(int(bitutil.BytesForBits(int64(data.Len()))))
			// Bits cannot be sliced by bytes, which is all the trouble with booleans and bitmaps.
			bitutil.CopyBitmap(b.Bytes(), data.Offset(), data.Len(), buffers[i].Bytes(), 0)
		}
	}
	return buffers
}

func rebased[O int32 | int64](ends []O) *memory.Buffer {
	b := newBuffer(int(unsafe.Sizeof(ends[0])) * len(ends))
	for i, end := range ends {
		arrow.GetData[O](b.Bytes())[i] = end - ends[0]
	}
	return b
}

func newBuffer(size int) *memory.Buffer {
	b := memory.NewResizableBuffer(cMemory)
	b.Resize(size)
	return b
}
