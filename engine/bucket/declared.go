package bucket

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
)

// Declare makes the columns of schema those that appends may have from now on:
// others are refused, as are other types. Columns and metadata that the bucket lacks are added;
// one that is not nullable must have a value in each row that is appended.
func (b *Bucket) Declare(schema *arrow.Schema) error {
	b.ingest.lockAppends()
	defer b.ingest.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	var missing []arrow.Field
	var metadata arrow.Metadata
	if b.rows.schema != nil {
		metadata = b.rows.schema.Metadata()
	}
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		if seen[f.Name] {
			return &engine.SchemaError{Column: f.Name, Reason: "is declared twice"}
		}
		seen[f.Name] = true
		if b.rows.schema == nil || !b.rows.schema.HasField(f.Name) {
			missing = append(missing, f)
			continue
		}
		if have := batch.ColumnOf(b.rows.schema, f.Name); !batch.SameType(have, f) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("is %s and was declared as %s; %s would allow it", batch.TypeName(have), batch.TypeName(f), batch.CastCall(f))}
		}
	}
	if len(seen) == 0 {
		return &engine.SchemaError{Reason: "a declared schema has at least one column"}
	}
	if len(missing) > 0 || lance.MissingMetadata(metadata, schema.Metadata()).Len() > 0 {
		if err := b.columns.addColumns(missing, schema.Metadata()); err != nil {
			return err
		}
	}
	b.ingest.declared = map[string]arrow.Field{}
	b.ingest.declare(schema.Fields()...)
	return nil
}

// declare lets appends have more columns, if they may not have any. The caller
// holds in.appending.
func (in *ingest) declare(fields ...arrow.Field) {
	if in.declared == nil {
		return
	}
	for _, f := range fields {
		in.declared[f.Name] = f
	}
	in.fits = nil
}

// checkDeclared refuses what a batch asks of the schema if it was not declared.
func (in *ingest) checkDeclared(rec arrow.Record, c batch.Change) error {
	if in.declared == nil {
		return nil
	}
	for _, f := range rec.Schema().Fields() {
		if _, ok := in.declared[f.Name]; !ok && !strings.HasPrefix(f.Name, batch.ReservedPrefix) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was not declared; add_column(%q, %q) would allow it", f.Name, batch.TypeName(f))}
		}
	}
	for _, f := range c.Casts {
		have := batch.ColumnOf(in.rows.schema, f.Name)
		return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was declared as %s and cannot hold %s; %s would allow it", batch.TypeName(have), batch.TypeName(f), batch.CastCall(f))}
	}
	return nil
}

// requires says whether a column was declared as not nullable.
func (in *ingest) requires() bool {
	for _, f := range in.declared {
		if !f.Nullable {
			return true
		}
	}
	return false
}

// checkRequired refuses a batch that lacks a value of a column that was declared as
// not nullable.
func (in *ingest) checkRequired(rec arrow.Record) error {
	for name, f := range in.declared {
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
