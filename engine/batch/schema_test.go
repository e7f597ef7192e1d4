package batch

import (
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
)

func field(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func jsonField() arrow.Field {
	f := field("a", arrow.BinaryTypes.String)
	f.Metadata = arrow.NewMetadata([]string{extensionName}, []string{"arrow.json"})
	return f
}

func TestUnify(t *testing.T) {
	var (
		i32  = arrow.PrimitiveTypes.Int32
		i64  = arrow.PrimitiveTypes.Int64
		u64  = arrow.PrimitiveTypes.Uint64
		f32  = arrow.PrimitiveTypes.Float32
		f64  = arrow.PrimitiveTypes.Float64
		text = arrow.BinaryTypes.String
	)
	type fields = []arrow.Field
	tests := map[string]struct {
		have, incoming fields
		want           fields // nil when refused
		casts          int
		refused        string // the column that is named
	}{
		"first batch":         {incoming: fields{field("a", i64)}, want: fields{field("a", i64)}},
		"same":                {have: fields{field("a", i64)}, incoming: fields{field("a", i64)}, want: fields{field("a", i64)}},
		"subset":              {have: fields{field("a", i64), field("b", text)}, incoming: fields{field("b", text)}, want: fields{field("a", i64), field("b", text)}},
		"new column":          {have: fields{field("a", i64)}, incoming: fields{field("b", text)}, want: fields{field("a", i64), field("b", text)}},
		"new is nullable":     {incoming: fields{{Name: "a", Type: i64}}, want: fields{field("a", i64)}},
		"int to float":        {have: fields{field("a", i64)}, incoming: fields{field("a", f64)}, want: fields{field("a", f64)}, casts: 1},
		"int to unsigned":     {have: fields{field("a", i64)}, incoming: fields{field("a", u64)}, want: fields{field("a", u64)}, casts: 1},
		"wider int":           {have: fields{field("a", i32)}, incoming: fields{field("a", i64)}, want: fields{field("a", i64)}, casts: 1},
		"wider float":         {have: fields{field("a", f32)}, incoming: fields{field("a", f64)}, want: fields{field("a", f64)}, casts: 1},
		"list of int":         {have: fields{field("a", arrow.ListOf(i64))}, incoming: fields{field("a", arrow.ListOf(f64))}, want: fields{field("a", arrow.ListOf(f64))}, casts: 1},
		"narrower":            {have: fields{field("a", i64)}, incoming: fields{field("a", i32)}, refused: "a"},
		"text into int":       {have: fields{field("x", text), field("a", i64)}, incoming: fields{field("x", text), field("a", text)}, refused: "a"},
		"json is not text":    {have: fields{field("a", text)}, incoming: fields{jsonField()}, refused: "a"},
		"text is not json":    {have: fields{jsonField()}, incoming: fields{field("a", text)}, refused: "a"},
		"json":                {have: fields{jsonField()}, incoming: fields{jsonField()}, want: fields{jsonField()}},
		"bool is not int":     {have: fields{field("a", i64)}, incoming: fields{field("a", arrow.FixedWidthTypes.Boolean)}, refused: "a"},
		"twice":               {incoming: fields{field("a", i64), field("a", i64)}, refused: "a"},
		"other case is other": {have: fields{field("a", i64)}, incoming: fields{field("A", text)}, want: fields{field("a", i64), field("A", text)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var have *arrow.Schema
			if test.have != nil {
				have = arrow.NewSchema(test.have, nil)
			}
			got, err := Unify(have, arrow.NewSchema(test.incoming, nil))
			if test.want == nil {
				var refused *engine.SchemaError
				if !errors.As(err, &refused) || refused.Column != test.refused {
					t.Fatalf("got %v, want a SchemaError of column %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := arrow.NewSchema(test.want, nil); !got.Schema.Equal(want) {
				t.Errorf("got %v, want %v", got.Schema, want)
			}
			if len(got.Casts) != test.casts {
				t.Errorf("got %d casts, want %d", len(got.Casts), test.casts)
			}
		})
	}
}
