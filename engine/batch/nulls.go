package batch

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// NullArray makes n nulls of the type of f, which must be storable. The buffers of
// all arrays in it are one, of zeros. What cannot be null within a null, because
// its type says so, is zero, as are the items of vectors: to Lance, null ones are more
// to write. arrow/go has such a function, which does not know
// structs with a field of type null. The caller releases the result.
func NullArray(f arrow.Field, n int64) arrow.Array {
	c := columnFor(f)
	// Zeros are right everywhere: a bitmap of nulls, offsets of nothing, values that nobody looks
	// at. So one buffer, as large as the largest needs, stands for all of them.
	zeros := bufferOf(c.nullBytes(n))
	defer zeros.Release()
	clear(zeros.Bytes())
	data := c.nulls(n, false, zeros)
	defer data.Release()
	return array.MakeFromData(data)
}

// nullBytes is the size of the largest buffer in n nulls.
func (c *column) nullBytes(n int64) int64 {
	size, below := (n+7)/8, int64(0)
	switch c.form {
	case formFixed:
		size = max(size, (n*c.bits+7)/8)
	case formText, formList:
		size = max(size, (n+1)*c.bits/8)
	case formGroup:
		below = n * c.repeat
	}
	for i := range c.children {
		size = max(size, c.children[i].nullBytes(below))
	}
	return size
}

func (c *column) nulls(n int64, required bool, zeros *memory.Buffer) arrow.ArrayData {
	part := func(size int64) *memory.Buffer { return memory.SliceBuffer(zeros, 0, int(size)) }
	var buffers []*memory.Buffer
	count, below := n, int64(0)
	// A child that cannot be null within a null has zeros there, and no bitmap.
	if required {
		count = 0
		buffers = append(buffers, nil)
	} else {
		buffers = append(buffers, part((n+7)/8))
	}
	switch c.form {
	case formNull:
		count, buffers = n, []*memory.Buffer{nil}
	case formFixed:
		buffers = append(buffers, part((n*c.bits+7)/8))
	case formText:
		buffers = append(buffers, part((n+1)*c.bits/8), part(0))
	case formList:
		buffers = append(buffers, part((n+1)*c.bits/8))
	case formGroup:
		below = n * c.repeat
	}
	defer func() {
		for _, b := range buffers {
			if b != nil {
				b.Release()
			}
		}
	}()
	children := make([]arrow.ArrayData, len(c.children))
	for i := range children {
		child := &c.children[i]
		// Lance writes the items of null vectors: zeros of a known number are cheaper than nulls of
		// them.
		vector := c.dataType.ID() == arrow.FIXED_SIZE_LIST
		children[i] = child.nulls(below, child.required || vector, zeros)
		defer children[i].Release()
	}
	return array.NewData(c.dataType, int(n), buffers, children, int(count), 0)
}
