package lance

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// textArray is values of text, cut out of one run of bytes at ends.
func textArray(t arrow.DataType, text string, valid []byte, ends ...int) arrow.Array {
	offsets := memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(int32s(ends)))
	if t.ID() == arrow.LARGE_STRING {
		offsets = memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(int64s(ends)))
	}
	var validity *memory.Buffer
	if valid != nil {
		validity = memory.NewBufferBytes(valid)
	}
	buffers := []*memory.Buffer{validity, offsets, memory.NewBufferBytes([]byte(text))}
	data := array.NewData(t, len(ends)-1, buffers, nil, array.UnknownNullCount, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

func int32s(ints []int) []int32 {
	out := make([]int32, len(ints))
	for i, n := range ints {
		out[i] = int32(n)
	}
	return out
}

func int64s(ints []int) []int64 {
	out := make([]int64, len(ints))
	for i, n := range ints {
		out[i] = int64(n)
	}
	return out
}

func inStruct(child arrow.Array, nullable bool, valid []byte) arrow.Array {
	f := arrow.Field{Name: "s", Type: child.DataType(), Nullable: nullable}
	var validity *memory.Buffer
	if valid != nil {
		validity = memory.NewBufferBytes(valid)
	}
	data := array.NewData(arrow.StructOf(f), child.Len(), []*memory.Buffer{validity}, []arrow.ArrayData{child.Data()}, array.UnknownNullCount, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

func inList(child arrow.Array, nullable bool, ends ...int) arrow.Array {
	t := arrow.ListOfField(arrow.Field{Name: "item", Type: child.DataType(), Nullable: nullable})
	offsets := memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(int32s(ends)))
	data := array.NewData(t, len(ends)-1, []*memory.Buffer{nil, offsets}, []arrow.ArrayData{child.Data()}, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// inVector makes vectors of two.
func inVector(child arrow.Array, valid []byte) arrow.Array {
	const n = 2
	t := arrow.FixedSizeListOfField(n, arrow.Field{Name: "item", Type: child.DataType(), Nullable: false})
	var validity *memory.Buffer
	if valid != nil {
		validity = memory.NewBufferBytes(valid)
	}
	data := array.NewData(t, child.Len()/n, []*memory.Buffer{validity}, []arrow.ArrayData{child.Data()}, array.UnknownNullCount, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// counted are numbers from 0 on, null where valid has no bit.
func counted(n int, valid byte) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	for i := range n {
		if valid>>i&1 == 0 {
			b.AppendNull()
		} else {
			b.Append(int64(i))
		}
	}
	return b.NewArray()
}

func sliced(a arrow.Array, from, to int64) arrow.Array { return array.NewSlice(a, from, to) }

// What cannot be stored is refused with the place of the first fault, and what is
// beside it, behind it or not there is none.
func TestValues(t *testing.T) {
	text, large := arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString
	bad := textArray(text, "ab\xe9\xffcd", nil, 0, 2, 4, 6) // ab, no UTF-8, cd
	cut := textArray(text, "aéb", nil, 0, 2, 4)             // a rune in two values
	for name, c := range map[string]struct {
		array arrow.Array
		says  string // "" where it is sound
	}{
		"text":                     {textArray(text, "aé☃😀", nil, 0, 1, 3, 6, 10), ""},
		"no UTF-8":                 {bad, "column x, row 1: text that is no UTF-8 at byte 0, 0xe9ff"},
		"large text":               {textArray(large, "ab\xe9\xffcd", nil, 0, 2, 4, 6), "column x, row 1: text"},
		"before it":                {sliced(bad, 0, 1), ""},
		"after it":                 {sliced(bad, 2, 3), ""},
		"from it on":               {sliced(bad, 1, 3), "column x, row 0: text"},
		"behind a null":            {textArray(text, "ab\xe9\xffcd", []byte{5}, 0, 2, 4, 6), "row 1: behind the null, text"},
		"a rune in two":            {cut, "column x, row 0: text that is no UTF-8 at byte 1, 0xc3"},
		"cut at its end":           {textArray(text, "aé", nil, 0, 2), "row 0: text that is no UTF-8 at byte 1"},
		"a surrogate":              {textArray(text, "\xed\xa0\x80", nil, 0, 3), "row 0: text"},
		"bytes":                    {textArray(arrow.BinaryTypes.Binary, "\xff", nil, 0, 1), ""},
		"no rows":                  {sliced(bad, 1, 1), ""},
		"in a struct":              {inStruct(bad, true, nil), "column x.s, row 1: text"},
		"in a sliced struct":       {sliced(inStruct(bad, true, nil), 1, 2), "column x.s, row 0: text"},
		"beside a struct's slice":  {sliced(inStruct(bad, true, nil), 2, 3), ""},
		"in a list":                {inList(bad, true, 0, 0, 1, 1, 3), "column x[], row 3: text"},
		"in a sliced list":         {sliced(inList(bad, true, 0, 0, 1, 1, 3), 2, 4), "column x[], row 1: text"},
		"in no list":               {inList(bad, true, 2, 2, 3), ""},
		"in a list of lists":       {inList(inList(bad, true, 0, 1, 3), true, 0, 0, 2), "column x[][], row 1: text"},
		"in a list of structs":     {inList(inStruct(bad, true, nil), true, 0, 1, 3), "column x[].s, row 1: text"},
		"null item":                {inList(counted(3, 5), false, 0, 1, 3), "column x[], row 1: a null where the type int64 has none"},
		"null item, nullable":      {inList(counted(3, 5), true, 0, 1, 3), ""},
		"null item in no list":     {inList(counted(3, 5), false, 2, 2, 3), ""},
		"null item between lists":  {inListOf([]int32{0, 1, 2, 3}, []byte{5}, counted(3, 5)), ""},
		"null field":               {inStruct(counted(3, 5), false, nil), "column x.s, row 1: a null"},
		"null field of a null":     {inStruct(counted(3, 5), false, []byte{5}), ""},
		"null field, deep":         {inStruct(inStruct(counted(3, 5), false, nil), true, []byte{5}), ""},
		"null field, deep and bad": {inStruct(inStruct(counted(3, 5), false, nil), true, []byte{6}), "column x.s.s, row 1: a null"},
		"null in a vector":         {inVector(counted(4, 7), nil), "column x[], row 1: a null"},
		"null in a null vector":    {inVector(counted(4, 7), []byte{1}), ""},
		"beside a vector's slice":  {sliced(inVector(counted(4, 7), nil), 0, 1), ""},
		"in a vector's slice":      {sliced(inVector(counted(4, 7), nil), 1, 2), "column x[], row 0: a null"},
	} {
		schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: c.array.DataType()}}, nil)
		rec := array.NewRecord(schema, []arrow.Array{c.array}, int64(c.array.Len()))
		err := CheckValues(rec)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		rec.Release()
	}
}

// inListOf is lists of required items, null where valid has no bit, whatever is
// within their ends.
func inListOf(ends []int32, valid []byte, child arrow.Array) arrow.Array {
	t := arrow.ListOfField(arrow.Field{Name: "item", Type: child.DataType()})
	buffers := []*memory.Buffer{memory.NewBufferBytes(valid), memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(ends))}
	data := array.NewData(t, len(ends)-1, buffers, []arrow.ArrayData{child.Data()}, array.UnknownNullCount, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// The fast ways to look at text say what Go's own says.
func TestValidUTF8(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	check := func(text []byte) {
		t.Helper()
		if got := validUTF8(text); got != utf8.Valid(text) {
			t.Fatalf("%x: %v", text, got)
		}
		ascii := strings.IndexFunc(string(text), func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if got := isASCII(text); got != ascii {
			t.Fatalf("%x: ASCII %v", text, got)
		}
	}
	for i := range 1 << 16 { // each pair of bytes, at some place, with some after it
		at := r.IntN(40)
		text := append([]byte(strings.Repeat("a", at)), byte(i), byte(i>>8), 0x80|byte(r.IntN(64)), 0x80|byte(r.IntN(64)))
		for end := at; end <= len(text); end++ {
			check(text[:end])
		}
	}
	for range 100_000 {
		text := make([]byte, r.IntN(150))
		for i := range text {
			text[i] = "ab\x80\xbf\xc3\xe2\xed\xf0\x9f\x98"[r.IntN(10)]
		}
		text = []byte(strings.ToValidUTF8(string(text), "é"))
		if n := len(text); n > 0 && r.IntN(2) == 0 {
			text[r.IntN(n)] ^= 1 << r.IntN(8)
		}
		check(text)
	}
}

func BenchmarkValidUTF8(b *testing.B) {
	for name, unit := range map[string]string{"ASCII": "hello world, this is text ", "German": "Größe und Übermut ", "Chinese": "持久化存储引擎"} {
		t := Text{Width: 4, Bytes: []byte(strings.Repeat(unit, 4<<20/len(unit)))}
		ends := []int32{0}
		for at := len(unit) * 8; at <= len(t.Bytes); at += len(unit) * 8 {
			ends = append(ends, int32(at))
		}
		t.Offsets = arrow.Int32Traits.CastToBytes(ends)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(t.Bytes)))
			for b.Loop() {
				if t.Fault() >= 0 {
					b.Fatal("a fault")
				}
			}
		})
	}
}
