package lance

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// CheckValues says, with ErrSchema, why a table cannot hold the values of a
// batch: the path of the field and the row at fault. Call it where refusing is
// still possible. It looks at
//
//   - text, which has to be UTF-8: Lance stores any, and then its reader takes the
//     page for damaged. What lies behind a null is stored as well, and counts;
//   - nulls where the type has none: Lance refuses to write them;
//   - JSON, see [CheckJSON].
//
// Columns of numbers cost nothing, nulls where they may be neither. Text costs what
// it takes to read it once: 14 GB/s where it is ASCII, and where it is not what
// [validUTF8] says.
func CheckValues(batch arrow.Record) error { return checkValues(batch, false) }

// checkValues is CheckValues, or looks at JSON alone.
func checkValues(batch arrow.Record, json bool) error {
	for i, f := range batch.Schema().Fields() {
		f.Nullable = true // a column of a bucket is, whatever the batch says
		v := values{field: f, path: f.Name, array: batch.Column(i), json: json}
		if err := v.check(); err != nil {
			return err
		}
	}
	return nil
}

// values are those of a field, at any depth, that rows of a batch have.
type values struct {
	field  arrow.Field
	path   string
	array  arrow.Array
	hidden func(i int) bool // whether value i lies behind a null; nil: none does
	row    func(i int) int  // the row that value i belongs to; nil: row i
	json   bool             // look at nothing else
}

func (v *values) rowOf(i int) int {
	if v.row == nil {
		return i
	}
	return v.row(i)
}

func (v *values) hasNulls() bool {
	return len(v.array.NullBitmapBytes()) > 0 && v.array.NullN() > 0
}

func (v *values) fault(i int, format string, args ...any) error {
	return fmt.Errorf("%w: column %s, row %d: %s", ErrSchema, v.path, v.rowOf(i), fmt.Sprintf(format, args...))
}

func (v *values) check() error {
	if err := v.checkNulls(); err != nil {
		return err
	}
	switch a := v.array.(type) {
	case *array.String:
		if IsJSON(v.field) {
			return v.checkJSON(a)
		}
		return v.checkText(textOf(a.Data(), 4))
	case *array.LargeString:
		return v.checkText(textOf(a.Data(), 8))
	case *array.Struct:
		for i, f := range a.DataType().(*arrow.StructType).Fields() {
			child := values{field: f, path: v.path + "." + f.Name, array: a.Field(i), hidden: v.behind(), row: v.row, json: v.json}
			if err := child.check(); err != nil {
				return err
			}
		}
	case array.ListLike:
		return v.checkItems(a)
	}
	return nil
}

// checkItems checks the items of lists.
func (v *values) checkItems(a array.ListLike) error {
	// By the type, as the items of an empty list have one as well.
	item := a.DataType().(arrow.ListLikeType).ElemField()
	if a.DataType().ID() == arrow.FIXED_SIZE_LIST && !v.json && !fitsChunk(a.DataType(), a) {
		return fmt.Errorf("%w: column %s: %s with null items cannot be stored, its items are too many; use a list, or uint8", ErrSchema, v.path, a.DataType())
	}
	if a.Len() == 0 || !toCheck(item) {
		return nil
	}
	items := itemsOf(a)
	defer items.Release()
	// A sliced list has the items of the whole: those before it are none of its rows.
	first, _ := a.ValueOffsets(0)
	list := func(i int) int { return owner(a, first+int64(i)) }
	hidden := v.behind()
	child := values{field: item, path: v.path + "[]", array: items, json: v.json}
	child.row = func(i int) int { return v.rowOf(list(i)) }
	child.hidden = func(i int) bool {
		// An item that no list has is none of a row, and no fault of it.
		l := list(i)
		from, to := a.ValueOffsets(l)
		at := first + int64(i)
		return at < from || at >= to || hidden != nil && hidden(l)
	}
	return child.check()
}

// owner finds the last list that begins at or before an item: that is the one
// which has it, if any does.
func owner(a array.ListLike, item int64) int {
	low, high := 0, a.Len()
	for low < high {
		middle := (low + high) / 2
		if from, _ := a.ValueOffsets(middle); from <= item {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return max(low-1, 0)
}

// behind says which of the children of v lie behind a null.
func (v *values) behind() func(i int) bool {
	// Then a child is hidden where its parent was, and by nothing else.
	if !v.hasNulls() {
		return v.hidden
	}
	return func(i int) bool { return v.array.IsNull(i) || v.hidden != nil && v.hidden(i) }
}

// toCheck says whether there is anything to check in a field inside a column.
func toCheck(f arrow.Field) bool {
	if !f.Nullable {
		return true
	}
	switch t := f.Type.(type) {
	case *arrow.StringType, *arrow.LargeStringType:
		return true
	case arrow.NestedType:
		return slices.ContainsFunc(t.Fields(), toCheck)
	}
	return false
}

// checkNulls refuses nulls where the type has none.
func (v *values) checkNulls() error {
	// The common case first, which looks at no value.
	if v.json || v.field.Nullable || !v.hasNulls() {
		return nil
	}
	for i := range v.array.Len() {
		if v.array.IsNull(i) && (v.hidden == nil || !v.hidden(i)) {
			return v.fault(i, "a null where the type %s has none; declare it nullable", v.field.Type)
		}
	}
	return nil
}

func (v *values) checkJSON(a *array.String) error {
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		if err := CheckJSON(a.Value(i)); err != nil {
			return fmt.Errorf("%w: column %s: JSON value %d: %w", ErrSchema, v.path, v.rowOf(i), err)
		}
	}
	return nil
}

// checkText refuses what is no UTF-8.
func (v *values) checkText(t Text) error {
	if v.json {
		return nil
	}
	if i := t.Fault(); i >= 0 {
		what := ""
		if v.array.IsNull(i) {
			what = "behind the null, "
		}
		return v.fault(i, "%s%s", what, t.Why(i))
	}
	return nil
}

// Text is values of text as they lie in memory.
type Text struct {
	Offsets []byte // little-endian, one more than there are values
	Width   int    // of an offset, 4 or 8
	Bytes   []byte
}

func textOf(data arrow.ArrayData, width int) Text {
	buffers := data.Buffers()
	if data.Len() == 0 || buffers[1] == nil {
		return Text{Width: width}
	}
	from := data.Offset() * width
	t := Text{Offsets: buffers[1].Bytes()[from : from+(data.Len()+1)*width], Width: width}
	if buffers[2] != nil {
		t.Bytes = buffers[2].Bytes()
	}
	return t
}

func (t Text) len() int { return max(len(t.Offsets)/t.Width-1, 0) }

func (t Text) offset(i int) int {
	if t.Width == 8 {
		return int(binary.LittleEndian.Uint64(t.Offsets[8*i:]))
	}
	return int(int32(binary.LittleEndian.Uint32(t.Offsets[4*i:])))
}

func (t Text) value(i int) []byte { return t.Bytes[t.offset(i):t.offset(i+1)] }

// Fault returns the first value that is no UTF-8, -1 if all are. All bytes are
// looked at in one go: they are UTF-8, and no value begins within a rune.
func (t Text) Fault() int {
	n := t.len()
	if n == 0 {
		return -1
	}
	// Value by value it would be a call for each, and most are short.
	all := t.Bytes[t.offset(0):t.offset(n)]
	if isASCII(all) {
		return -1
	}
	if validUTF8(all) && !t.cutsRune(n) {
		return -1
	}
	for i := range n {
		if !utf8.Valid(t.value(i)) {
			return i
		}
	}
	return -1
}

// cutsRune says whether a value begins within a rune.
func (t Text) cutsRune(n int) bool {
	end := t.offset(n)
	for i := 1; i < n; i++ {
		if at := t.offset(i); at < end && !utf8.RuneStart(t.Bytes[at]) {
			return true
		}
	}
	return false
}

// Why says what is wrong with a value that is no UTF-8.
func (t Text) Why(i int) string {
	text := t.value(i)
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		at += size
	}
	return fmt.Sprintf("text that is no UTF-8 at byte %d, %#x; store other bytes as binary", at, text[at:min(at+4, len(text))])
}
