package batch

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

func TestDeclared(t *testing.T) {
	number := arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64}
	text := arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}
	schema := arrow.NewSchema([]arrow.Field{number, text}, nil)
	batchOf := func(text string, fields ...arrow.Field) arrow.Record {
		rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(fields, nil), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(rec.Release)
		return rec
	}
	nullable, double := number, number
	nullable.Nullable, double.Type = true, arrow.PrimitiveTypes.Float64
	for name, c := range map[string]struct {
		rec  arrow.Record
		want string // a piece of the error; empty for none
	}{
		"as declared":          {batchOf(`[{"n": 1, "s": "a"}]`, number, text), ""},
		"one is left out":      {batchOf(`[{"n": 1}]`, number), ""},
		"one of the engine's":  {batchOf(`[{"n": 1, "_persisting_untyped": "a"}]`, number, arrow.Field{Name: UntypedColumn, Type: arrow.BinaryTypes.String, Nullable: true}), ""},
		"not declared":         {batchOf(`[{"n": 1, "m": 1}]`, number, arrow.Field{Name: "m", Type: arrow.PrimitiveTypes.Int64}), `add_column("m", "int64") would allow it`},
		"of another type":      {batchOf(`[{"n": 1.5}]`, double), `cast_column("n", "float64") would allow it`},
		"no value":             {batchOf(`[{"n": 1}, {"n": null}]`, nullable), "1 of 2 rows have no value"},
		"no column of a value": {batchOf(`[{"s": "a"}]`, text), "1 of 1 rows have no value"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, declared := range []Declared{nil, {"n": number, "s": text}} {
				change, err := Unify(schema, c.rec.Schema())
				if err == nil {
					err = declared.Check(schema, c.rec, change)
				}
				if err == nil {
					err = declared.CheckRequired(c.rec)
				}
				if c.want == "" || declared == nil {
					if err != nil {
						t.Errorf("declared %v: %v", declared != nil, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
		})
	}
	var all Declared
	all.Add(number)
	if all != nil || all.Requires() {
		t.Error("what allows all allows one column")
	}
	some := Declared{"s": text}
	if some.Requires() {
		t.Error("a nullable column is required")
	}
	if some.Add(number); !some.Requires() {
		t.Error("a column that was added is not required")
	}
}
