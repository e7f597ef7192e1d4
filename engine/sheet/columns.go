package sheet

import (
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine/memory"
)

const (
	alignment = 64
	endBytes  = 4
)

// column is where the cells of a column are.
type column struct {
	kind   arrow.DataType
	item   arrow.DataType // of numbers; nil for texts and bytes
	width  int64          // of an item
	items  int64          // of a row; 0 for any number
	ends   int64          // where these are
	values int64          // where the items are
	room   int64          // of them, in bytes
}

// columnOf returns a column whose cells are nowhere yet.
func columnOf(f arrow.Field) (column, error) {
	c := column{kind: f.Type, item: f.Type, items: 1}
	switch t := f.Type.(type) {
	case *arrow.StringType, *arrow.BinaryType:
		return column{kind: f.Type, width: 1}, nil
	case *arrow.ListType:
		c.item, c.items = t.Elem(), 0
	case *arrow.FixedSizeListType:
		c.item, c.items = t.Elem(), int64(t.Len())
	}
	if c.item.ID() == arrow.BOOL {
		c.width = 1
		return c, nil
	}
	if !arrow.IsInteger(c.item.ID()) && !arrow.IsFloating(c.item.ID()) {
		return c, fmt.Errorf("sheet: column %q: a sheet cannot hold %s", f.Name, f.Type)
	}
	c.width = int64(c.item.(arrow.FixedWidthDataType).Bytes())
	return c, nil
}

// layout says where the cells of all columns are, from a place on, and where they end.
func layout(schema *arrow.Schema, rows, heap, at int64) (columns []column, end int64, err error) {
	aligned := func(size int64) (place int64) {
		place = (at + alignment - 1) / alignment * alignment
		at = place + size
		return place
	}
	for _, f := range schema.Fields() {
		c, err := columnOf(f)
		if err != nil {
			return nil, 0, err
		}
		c.room = rows * c.items * c.width
		if c.items == 0 {
			c.ends = aligned((rows + 1) * endBytes)
			c.room = heap
		}
		c.values = aligned(c.room)
		columns = append(columns, c)
	}
	return columns, at, nil
}

// end is where the items of the rows before one end.
func (c *column) end(memory []byte, row int64) int64 {
	return int64(int32(binary.LittleEndian.Uint32(memory[c.ends+row*endBytes:])))
}

// check says what is wrong with the ends of rows.
func (c *column) check(memory []byte, rows int64) error {
	if c.items > 0 {
		return nil
	}
	for row, last := int64(0), int64(0); row <= rows; row++ {
		end := c.end(memory, row)
		if end < last || end > c.room/c.width || row == 0 && end != 0 {
			return fmt.Errorf("the items of row %d end at %d", row-1, end)
		}
		last = end
	}
	return nil
}

// read copies the cells of rows out, which were checked. The caller releases the result.
func (c *column) read(memory []byte, from, to int64) arrow.ArrayData {
	rows := int(to - from)
	if c.items > 0 {
		values := c.numbers(memory, from*c.items, to*c.items)
		if c.item == c.kind {
			return values
		}
		defer values.Release()
		return array.NewData(c.kind, rows, []*arrowmemory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0)
	}
	ends := newBuffer((rows + 1) * endBytes)
	defer ends.Release()
	first := c.end(memory, from)
	for i := range rows + 1 {
		binary.LittleEndian.PutUint32(ends.Bytes()[i*endBytes:], uint32(c.end(memory, from+int64(i))-first))
	}
	last := c.end(memory, to)
	if c.item == nil {
		text := copied(memory[c.values+first : c.values+last])
		defer text.Release()
		return array.NewData(c.kind, rows, []*arrowmemory.Buffer{nil, ends, text}, nil, 0, 0)
	}
	items := c.numbers(memory, first, last)
	defer items.Release()
	return array.NewData(c.kind, rows, []*arrowmemory.Buffer{nil, ends}, []arrow.ArrayData{items}, 0, 0)
}

// numbers copies items out.
func (c *column) numbers(memory []byte, from, to int64) arrow.ArrayData {
	cells := memory[c.values+from*c.width : c.values+to*c.width]
	n := int(to - from)
	var values *arrowmemory.Buffer
	if c.item.ID() == arrow.BOOL {
		values = newBuffer(int(bitutil.BytesForBits(int64(n))))
		for i, b := range cells {
			bitutil.SetBitTo(values.Bytes(), i, b != 0)
		}
	} else {
		values = copied(cells)
	}
	defer values.Release()
	return array.NewData(c.item, n, []*arrowmemory.Buffer{nil, values}, nil, 0, 0)
}

// newBuffer returns zeros where batches may lie that go over to Lance.
func newBuffer(size int) *arrowmemory.Buffer {
	b := arrowmemory.NewResizableBuffer(memory.Allocator)
	b.Resize(size)
	return b
}

func copied(bytes []byte) *arrowmemory.Buffer {
	b := newBuffer(len(bytes))
	copy(b.Bytes(), bytes)
	return b
}
