package batch

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// rebased returns rec, for the caller to release, as arrow/go can write it.
//
// Where the offsets of an array that is no slice do not begin at 0, as those of slices
// that polars gives out, it writes the values from where they begin and the offsets as
// they are: what is read back has other values, or none. Where lists have no items and
// bytes are below them, it panics.
func rebased(rec arrow.Record) arrow.Record {
	if !slices.ContainsFunc(rec.Columns(), func(c arrow.Array) bool { return isAmiss(c.Data()) }) {
		rec.Retain()
		return rec
	}
	columns := make([]arrow.Array, rec.NumCols())
	for i, c := range rec.Columns() {
		data := rebase(c.Data())
		columns[i] = array.MakeFromData(data)
		data.Release()
		defer columns[i].Release()
	}
	return array.NewRecord(rec.Schema(), columns, rec.NumRows())
}

func isAmiss(data arrow.ArrayData) bool {
	_, _, amiss := valueRange(data)
	return amiss || slices.ContainsFunc(data.Children(), isAmiss)
}

// valueRange is where the values of data begin and end, and whether its offsets have to
// be rebased.
func valueRange(data arrow.ArrayData) (first, end int64, amiss bool) {
	switch data.DataType().ID() {
	case arrow.STRING, arrow.BINARY, arrow.LIST, arrow.MAP:
		first, end = ends[int32](data)
	case arrow.LARGE_STRING, arrow.LARGE_BINARY, arrow.LARGE_LIST:
		first, end = ends[int64](data)
	default:
		return 0, 0, false
	}
	// Bytes below lists that have no items: whoever wrote them kept an array that is not used.
	unused := first == end && len(data.Children()) > 0 && data.Children()[0].Len() > 0
	return first, end, unused || first > 0 && data.Offset() == 0
}

func ends[O int32 | int64](data arrow.ArrayData) (first, end int64) {
	if data.Len() == 0 || data.Buffers()[1] == nil {
		return 0, 0
	}
	offsets := arrow.GetData[O](data.Buffers()[1].Bytes())[data.Offset():]
	return int64(offsets[0]), int64(offsets[data.Len()])
}

// rebase returns data, or its equal that can be written, for the caller to release.
func rebase(data arrow.ArrayData) arrow.ArrayData {
	if !isAmiss(data) {
		data.Retain()
		return data
	}
	first, end, amiss := valueRange(data)
	buffers, children := slices.Clone(data.Buffers()), slices.Clone(data.Children())
	switch {
	case !amiss:
	case first == end:
		buffers[1] = zeroed(int64(data.Offset()+data.Len()+1) * 8)
		children[0] = noneOf(children[0].DataType())
		defer children[0].Release()
	default:
		buffers[1] = shifted(data, first)
		if len(children) > 0 {
			children[0] = array.NewSliceData(children[0], first, end)
			defer children[0].Release()
		} else {
			buffers[2] = memory.SliceBuffer(buffers[2], int(first), int(end-first))
			defer buffers[2].Release()
		}
	}
	for i, child := range children {
		children[i] = rebase(child)
		defer children[i].Release()
	}
	return array.NewData(data.DataType(), data.Len(), buffers, children, data.NullN(), data.Offset())
}

// zeroed is memory that lasts as long as what was written of it. Behind it is room for
// one value of any type, which arrow/go casts its address to, also where there is none.
func zeroed(bytes int64) *memory.Buffer {
	return memory.NewBufferBytes(make([]byte, bytes, bytes+64))
}

// noneOf is an array without values.
func noneOf(t arrow.DataType) arrow.ArrayData {
	c := columnFor(arrow.Field{Type: t, Nullable: true})
	return c.nulls(0, false, zeroed(c.nullBytes(0)))
}

// shifted is the offsets of data, which is no slice, less the first of them.
func shifted(data arrow.ArrayData, first int64) *memory.Buffer {
	bits := columnFor(arrow.Field{Type: data.DataType()}).bits
	b := zeroed(int64(data.Len()+1) * bits / 8)
	if bits == 64 {
		shift(arrow.Int64Traits.CastFromBytes(b.Bytes()), arrow.Int64Traits.CastFromBytes(data.Buffers()[1].Bytes()), first)
	} else {
		shift(arrow.Int32Traits.CastFromBytes(b.Bytes()), arrow.Int32Traits.CastFromBytes(data.Buffers()[1].Bytes()), int32(first))
	}
	return b
}

func shift[O int32 | int64](to, from []O, first O) {
	for i := range to {
		to[i] = from[i] - first
	}
}
