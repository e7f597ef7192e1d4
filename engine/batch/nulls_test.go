package batch

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/memory"
)

// lackable are types that rows may lack.
func lackable() map[string]arrow.DataType {
	opt := func(name string, t arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: t, Nullable: true}
	}
	req := func(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }
	text, i64 := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	leaves := map[string]arrow.DataType{
		"null": arrow.Null, "bool": arrow.FixedWidthTypes.Boolean, "int8": arrow.PrimitiveTypes.Int8, "int64": i64,
		"decimal256": &arrow.Decimal256Type{Precision: 50, Scale: 2}, "text": text, "large text": arrow.BinaryTypes.LargeString,
		"bytes": arrow.BinaryTypes.Binary, "bytes of 3": &arrow.FixedSizeBinaryType{ByteWidth: 3},
	}
	all := map[string]arrow.DataType{}
	for name, t := range leaves {
		all[name] = t
		all["struct of "+name] = arrow.StructOf(opt("a", text), opt("b", t))
		all["list of "+name] = arrow.ListOf(t)
		all["large list of "+name] = arrow.LargeListOf(t)
		all["vector of "+name] = arrow.FixedSizeListOf(3, t)
		all["map of "+name] = arrow.MapOf(text, t)
		all["struct of struct of "+name] = arrow.StructOf(opt("a", arrow.StructOf(opt("b", t))))
		all["list of struct of "+name] = arrow.ListOf(arrow.StructOf(opt("b", t)))
		if name != "null" {
			all["required "+name] = arrow.StructOf(req("a", t), req("b", arrow.StructOf(req("c", t), opt("d", t))))
		}
	}
	return all
}

// Nulls can be made of every type, joined with others, and come back from the log.
func TestNulls(t *testing.T) {
	for name, dataType := range lackable() {
		t.Run(name, func(t *testing.T) {
			f := arrow.Field{Name: "x", Type: dataType, Nullable: true}
			schema := arrow.NewSchema([]arrow.Field{f}, nil)
			b := array.NewRecordBuilder(memory.Allocator, schema)
			defer b.Release()
			for range 5 {
				b.Field(0).AppendEmptyValue()
			}
			some := b.NewRecord()
			defer some.Release()
			for _, n := range []int64{0, 1, 70} {
				nulls := NullArray(f, n)
				defer nulls.Release()
				if int64(nulls.Len()) != n || int64(nulls.NullN()) != n || !arrow.TypeEqual(nulls.DataType(), dataType) {
					t.Fatalf("%d of %d are null in %s", nulls.NullN(), n, nulls.DataType())
				}
				rec := array.NewRecord(schema, []arrow.Array{nulls}, n)
				defer rec.Release()
				joined, err := Concat(schema, []arrow.Record{rec, some, rec})
				if err != nil {
					t.Fatal(err)
				}
				defer joined.Release()
				if joined.NumRows() != 2*n+5 || RowBytes(joined) < 0 {
					t.Fatalf("%d rows", joined.NumRows())
				}
				for _, rec := range []arrow.Record{rec, joined, joined.NewSlice(n, 2*n+5), joined.NewSlice(min(n, 3), n+2)} {
					if rec.NumRows() == 0 {
						continue
					}
					back := throughLog(t, rec)
					defer back.Release()
					if !array.RecordEqual(rec, back) {
						t.Fatalf("%v\ncomes back as %v", rec, back)
					}
				}
			}
		})
	}
}

// throughLog is what the log gives back of a batch.
func throughLog(t *testing.T, rec arrow.Record) arrow.Record {
	t.Helper()
	e, err := NewEncoder(rec.Schema())
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := e.Encode(rec)
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	for _, p := range pieces {
		body = append(body, p...)
	}
	var d Decoder
	defer d.Close()
	back, err := d.Decode(e.Preamble, body)
	if err != nil {
		t.Fatal(err)
	}
	return back
}
