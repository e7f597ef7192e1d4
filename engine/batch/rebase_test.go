package batch

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// lateFromJSON makes an array whose offsets begin late, as those of a slice in polars: of
// rows, the first is cut off together with its offset.
func lateFromJSON(t *testing.T, dataType arrow.DataType, rows string) arrow.Array {
	t.Helper()
	all, _, err := array.FromJSON(memory.DefaultAllocator, dataType, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	data := all.Data()
	width := columnFor(arrow.Field{Type: dataType}).bits / 8
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(data.Buffers()[1].Bytes()[width : int64(data.Len()+1)*width])}
	buffers = append(buffers, data.Buffers()[2:]...)
	cut := array.NewData(dataType, data.Len()-1, buffers, data.Children(), 0, 0)
	return array.MakeFromData(cut)
}

// Batches come back from the log whatever their offsets are.
func TestLateOffsets(t *testing.T) {
	bytes, text := arrow.BinaryTypes.Binary, arrow.BinaryTypes.String
	group := arrow.StructOf(arrow.Field{Name: "b", Type: bytes, Nullable: true})
	for name, c := range map[string]struct {
		dataType arrow.DataType
		rows     string
	}{
		"text":                 {text, `["first", "a", "", "bc"]`},
		"large text":           {arrow.BinaryTypes.LargeString, `["first", "a", "", "bc"]`},
		"bytes":                {bytes, `["AAAA", "AQ==", ""]`},
		"lists":                {arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1, 2], [3], [], [4, null]]`},
		"large lists of lists": {arrow.LargeListOf(arrow.ListOf(text)), `[[["x"], ["y"]], [["z", null]], []]`},
		"maps":                 {arrow.MapOf(text, bytes), `[[{"key": "a", "value": "AA=="}], [{"key": "b", "value": null}]]`},
		"lists without items":  {arrow.ListOf(bytes), `[["AAAA"], [], []]`},
		"of structs":           {arrow.ListOf(group), `[[{"b": "AAAA"}], [], []]`},
		"of large bytes":       {arrow.LargeListOf(arrow.BinaryTypes.LargeBinary), `[["AAAA"], []]`},
		"of lists":             {arrow.ListOf(arrow.ListOf(bytes)), `[[["AAAA"]], [[], []], []]`},
	} {
		t.Run(name, func(t *testing.T) {
			late := lateFromJSON(t, c.dataType, c.rows)
			schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: c.dataType, Nullable: true}}, nil)
			rec := array.NewRecord(schema, []arrow.Array{late}, int64(late.Len()))
			for from := range rec.NumRows() {
				part := rec.NewSlice(from, rec.NumRows())
				back := throughLog(t, part)
				if !array.RecordEqual(part, back) {
					t.Errorf("from row %d: %v\ncomes back as %v", from, part, back)
				}
			}
		})
	}
}
