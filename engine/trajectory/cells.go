package trajectory

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/content"
)

// ContentKey is in the metadata of the columns that hold names of values, which are in a place of their own. What the values mean is
// said there, for those who read them.
const ContentKey = "persisting.content"

// checkType refuses columns of a type that a step cannot have: numbers, booleans, texts, bytes, and lists or arrays of numbers.
func checkType(f arrow.Field) error {
	if err := checkContent(f); err != nil {
		return err
	}
	kind := f.Type
	switch t := kind.(type) {
	case *arrow.StringType, *arrow.BinaryType:
		return nil
	case *arrow.ListType:
		kind = t.Elem()
	case *arrow.FixedSizeListType:
		kind = t.Elem()
	}
	if widthOf(kind) > 0 || kind.ID() == arrow.BOOL {
		return nil
	}
	return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("steps cannot hold %s; want numbers, booleans, texts, bytes, and lists or arrays of numbers", f.Type)}
}

// checkContent refuses a column of names that can hold none.
func checkContent(f arrow.Field) error {
	list, ok := f.Type.(*arrow.FixedSizeListType)
	if f.Metadata.FindKey(ContentKey) < 0 || ok && list.Len() == content.NameBytes && list.Elem().ID() == arrow.UINT8 {
		return nil
	}
	return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("holds names of values, which are lists of %d uint8, not %s", content.NameBytes, f.Type)}
}

// contentColumns are the columns that hold names.
func contentColumns(schema *arrow.Schema) (names []string) {
	if schema == nil {
		return nil
	}
	for _, f := range schema.Fields() {
		if f.Metadata.FindKey(ContentKey) >= 0 {
			names = append(names, f.Name)
		}
	}
	return names
}

// widthOf is the size of a number in bytes; 0 for what is none.
func widthOf(t arrow.DataType) int {
	if !arrow.IsInteger(t.ID()) && !arrow.IsFloating(t.ID()) {
		return 0
	}
	return t.(arrow.FixedWidthDataType).Bytes()
}

// numbers are n numbers of an array from the i-th on, as bytes.
func numbers(a arrow.Array, i, n int) []byte {
	w := widthOf(a.DataType())
	buffer := a.Data().Buffers()[1]
	if buffer == nil {
		return nil
	}
	from := (a.Data().Offset() + i) * w
	return buffer.Bytes()[from : from+n*w]
}

// sameCell says whether a value is that of the other array, which has the same type, bit by bit.
func sameCell(a arrow.Array, i int, b arrow.Array, j int) bool {
	if a.IsNull(i) || b.IsNull(j) {
		return a.IsNull(i) && b.IsNull(j)
	}
	switch x := a.(type) {
	case *array.Boolean:
		return x.Value(i) == b.(*array.Boolean).Value(j)
	case *array.String:
		return x.Value(i) == b.(*array.String).Value(j)
	case *array.Binary:
		return bytes.Equal(x.Value(i), b.(*array.Binary).Value(j))
	case array.ListLike:
		y := b.(array.ListLike)
		from, to := x.ValueOffsets(i)
		other, end := y.ValueOffsets(j)
		return to-from == end-other && sameItems(x.ListValues(), from, y.ListValues(), other, int(to-from))
	}
	return bytes.Equal(numbers(a, i, 1), numbers(b, j, 1))
}

// sameItems says whether n items of an array are those of the other.
func sameItems(a arrow.Array, i int64, b arrow.Array, j int64, n int) bool {
	if widthOf(a.DataType()) > 0 {
		return bytes.Equal(numbers(a, int(i), n), numbers(b, int(j), n))
	}
	for k := range n {
		if !sameCell(a, int(i)+k, b, int(j)+k) {
			return false
		}
	}
	return true
}

// differing names the first column in which a row is not the other's, whose columns are the same; empty for none.
func differing(a arrow.Record, i int, b arrow.Record, j int) string {
	for c, f := range a.Schema().Fields() {
		if !sameCell(a.Column(c), i, b.Column(c), j) {
			return f.Name
		}
	}
	return ""
}
