package batch

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
)

// Declared are the only columns that batches may have, by name. nil allows all: a schema is declared or grows with what comes, and
// one that was declared has at least one column.
type Declared map[string]arrow.Field

// Add allows more columns where not all are.
func (d Declared) Add(fields ...arrow.Field) {
	if d == nil {
		return
	}
	for _, f := range fields {
		d[f.Name] = f
	}
}

// Check refuses what a batch asks of the schema, which is c, if it was not declared. The columns that the engine adds are nobody's to
// declare.
func (d Declared) Check(schema *arrow.Schema, rec arrow.Record, c Change) error {
	if d == nil {
		return nil
	}
	for _, f := range rec.Schema().Fields() {
		if _, ok := d[f.Name]; !ok && !strings.HasPrefix(f.Name, ReservedPrefix) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was not declared; add_column(%q, %q) would allow it", f.Name, TypeName(f))}
		}
	}
	for _, f := range c.Casts {
		have := ColumnOf(schema, f.Name)
		return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was declared as %s and cannot hold %s; %s would allow it", TypeName(have), TypeName(f), CastCall(f))}
	}
	return nil
}

// Requires says whether a column must have a value in each row. Lance keeps all columns nullable, so that one can be added without
// data: this is held here, for each append, and by nothing else.
func (d Declared) Requires() bool {
	for _, f := range d {
		if !f.Nullable {
			return true
		}
	}
	return false
}

// CheckRequired refuses a batch that lacks a value of a column that was declared as
// not nullable.
func (d Declared) CheckRequired(rec arrow.Record) error {
	for name, f := range d {
		if f.Nullable {
			continue
		}
		n := int(rec.NumRows())
		if i := rec.Schema().FieldIndices(name); len(i) > 0 {
			n = rec.Column(i[0]).NullN()
		}
		if n > 0 {
			return &engine.SchemaError{Column: name, Reason: fmt.Sprintf("was declared as not nullable and %d of %d rows have no value", n, rec.NumRows())}
		}
	}
	return nil
}
