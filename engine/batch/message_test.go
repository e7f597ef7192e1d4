package batch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine"
)

var jsonMetadata = arrow.NewMetadata([]string{"ARROW:extension:name"}, []string{"arrow.json"})

// messageColumns has every form of column, with nulls where there can be some.
var messageColumns = map[string]struct {
	field  arrow.Field
	values string // of three rows, as JSON
}{
	"null":       {arrow.Field{Type: arrow.Null}, `[null, null, null]`},
	"bool":       {arrow.Field{Type: arrow.FixedWidthTypes.Boolean}, `[true, null, false]`},
	"int64":      {arrow.Field{Type: arrow.PrimitiveTypes.Int64}, `[1, -2, 3]`},
	"uint8":      {arrow.Field{Type: arrow.PrimitiveTypes.Uint8}, `[1, null, 3]`},
	"fixed":      {arrow.Field{Type: &arrow.FixedSizeBinaryType{ByteWidth: 3}}, `["YWJj", null, "ZGVm"]`},
	"text":       {arrow.Field{Type: arrow.BinaryTypes.String}, `["one", "", null]`},
	"large text": {arrow.Field{Type: arrow.BinaryTypes.LargeString}, `["one", "", null]`},
	"json":       {arrow.Field{Type: arrow.BinaryTypes.String, Metadata: jsonMetadata}, `["{\"a\": [1]}", "[]", null]`},
	"list":       {arrow.Field{Type: arrow.ListOf(arrow.PrimitiveTypes.Int64)}, `[[1, null], null, [3]]`},
	"large list": {arrow.Field{Type: arrow.LargeListOf(arrow.BinaryTypes.String)}, `[["a", "b"], [], null]`},
	"array":      {arrow.Field{Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float64)}, `[[1, 2], null, [3, 4]]`},
	"struct": {arrow.Field{Type: arrow.StructOf(
		arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: "y", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	)}, `[{"x": 1, "y": ["a"]}, null, {"x": null, "y": null}]`},
	"map": {arrow.Field{Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)}, `[[{"key": "a", "value": 1}], null, []]`},
}

// aMessage is three rows of a column, how to read them, and what they are.
func aMessage(t testing.TB, name string) (*MessageSchema, []byte, arrow.Record) {
	t.Helper()
	c := messageColumns[name]
	c.field.Name, c.field.Nullable = name, true
	values, _, err := array.FromJSON(memory.DefaultAllocator, c.field.Type, strings.NewReader(c.values))
	must(t, err)
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{c.field}, nil), []arrow.Array{values}, 3)
	schema, err := NewMessageSchema(rec.Schema())
	must(t, err)
	e, err := NewEncoder(rec.Schema())
	must(t, err)
	pieces, err := e.Encode(rec)
	must(t, err)
	return schema, bytes.Join(pieces, nil), rec
}

func TestAMessageIsReadAsItWasWritten(t *testing.T) {
	for name := range messageColumns {
		t.Run(name, func(t *testing.T) {
			schema, message, want := aMessage(t, name)
			rows, err := schema.Check(message)
			must(t, err)
			got, pieces, err := schema.Copy(message)
			must(t, err)
			defer got.Release()
			if rows != 3 || !array.RecordEqual(got, want) {
				t.Errorf("%d rows %v, want %v", rows, got, want)
			}
			if !bytes.Equal(bytes.Join(pieces, nil), message) {
				t.Error("the pieces are not the message")
			}
		})
	}
}

func TestABrokenMessageIsRefusedOrCanBeRead(t *testing.T) {
	for name := range messageColumns {
		t.Run(name, func(t *testing.T) {
			schema, message, _ := aMessage(t, name)
			for i := range message {
				checkBroken(t, schema, message[:i], true)
				for _, flip := range []byte{1, 0x80, 0xFF} {
					broken := bytes.Clone(message)
					broken[i] ^= flip
					checkBroken(t, schema, broken, false)
				}
			}
			checkBroken(t, schema, append(bytes.Clone(message), make([]byte, 8)...), true)
		})
	}
}

func checkBroken(t *testing.T, schema *MessageSchema, message []byte, refused bool) {
	t.Helper()
	_, err := schema.Check(message)
	var wrong *engine.SchemaError
	if err != nil {
		if !errors.Is(err, engine.ErrMessage) && !errors.As(err, &wrong) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return
	}
	if refused {
		t.Fatalf("%x was taken", message)
	}
	rec, _, err := schema.Copy(message)
	must(t, err)
	defer rec.Release()
	_ = fmt.Sprint(rec) // looks at every value
}

func TestAMessageOfOtherColumnsIsRefused(t *testing.T) {
	for name := range messageColumns {
		for other := range messageColumns {
			schema, _, _ := aMessage(t, name)
			_, message, _ := aMessage(t, other)
			if _, err := schema.Check(message); err == nil {
				rec, _, err := schema.Copy(message)
				must(t, err)
				_ = fmt.Sprint(rec)
				rec.Release()
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	schemas := map[string]*MessageSchema{}
	for name := range messageColumns {
		schema, message, _ := aMessage(f, name)
		schemas[name] = schema
		f.Add(name, message)
	}
	f.Fuzz(func(t *testing.T, name string, message []byte) {
		if schema, ok := schemas[name]; ok {
			checkBroken(t, schema, message, false)
		}
	})
}

// TestMessagesAreJoinedAsTheyAreRead joins messages of several rows, with nulls in
// some of them, that were cut out of longer batches.
func TestMessagesAreJoinedAsTheyAreRead(t *testing.T) {
	for name := range messageColumns {
		t.Run(name, func(t *testing.T) {
			schema, _, rec := aMessage(t, name)
			e, err := NewEncoder(rec.Schema())
			must(t, err)
			var messages [][]byte
			var read []arrow.Record
			for _, cut := range [][2]int64{{0, 3}, {1, 2}, {0, 1}, {2, 3}, {0, 0}, {0, 2}, {0, 3}, {0, 3}, {1, 3}} {
				pieces, err := e.Encode(rec.NewSlice(cut[0], cut[1]))
				must(t, err)
				message := bytes.Join(pieces, nil)
				one, _, err := schema.Copy(message)
				must(t, err)
				defer one.Release()
				messages, read = append(messages, message), append(read, one)
			}
			want, err := Concat(rec.Schema(), read)
			must(t, err)
			defer want.Release()
			got, err := schema.Join(messages)
			must(t, err)
			defer got.Release()
			if !array.RecordEqual(got, want) || got.Column(0).NullN() != want.Column(0).NullN() {
				t.Errorf("joined to %v, want %v", got, want)
			}
		})
	}
}

// BenchmarkUnpack makes columns of 256 messages of one row with as many columns as
// there are forms.
func BenchmarkUnpack(b *testing.B) {
	var fields []arrow.Field
	var columns []arrow.Array
	for name := range messageColumns {
		_, _, rec := aMessage(b, name)
		fields, columns = append(fields, rec.Schema().Field(0)), append(columns, rec.Column(0))
	}
	rec := array.NewRecord(arrow.NewSchema(fields, nil), columns, 3).NewSlice(0, 1)
	schema, err := NewMessageSchema(rec.Schema())
	must(b, err)
	e, err := NewEncoder(rec.Schema())
	must(b, err)
	pieces, err := e.Encode(rec)
	must(b, err)
	message := bytes.Join(pieces, nil)
	messages := slices.Repeat([][]byte{message}, 256)
	for b.Loop() {
		rec, err := schema.Join(messages)
		must(b, err)
		rec.Release()
	}
}
