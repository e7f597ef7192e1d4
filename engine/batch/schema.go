package batch

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// Change is what a batch asks of the schema of its bucket.
type Change struct {
	Schema   *arrow.Schema // the columns after the change
	added    []arrow.Field
	Casts    []arrow.Field  // columns that exist, with the type that they are promoted to
	metadata arrow.Metadata // of the schema, with keys that it had not
}

// None says that the batch asks for nothing new.
func (c Change) None() bool {
	return len(c.added) == 0 && len(c.Casts) == 0 && c.metadata.Len() == 0
}

// Unify finds the change that lets a batch with the columns of incoming enter a
// bucket with the columns of have, which is nil for a bucket without columns. Keys
// of the schema's metadata keep the value that came first: what a data frame says of
// its index, say, is another thing in each batch.
func Unify(have, incoming *arrow.Schema) (Change, error) {
	var fields []arrow.Field
	var metadata arrow.Metadata
	if have != nil {
		fields = append(fields, have.Fields()...)
		metadata = have.Metadata()
	}
	places := make(map[string]int, len(fields))
	for i, f := range fields {
		places[f.Name] = i
	}
	var c Change
	seen := make(map[string]bool, incoming.NumFields())
	for _, f := range incoming.Fields() {
		if seen[f.Name] {
			return Change{}, &engine.SchemaError{Column: f.Name, Reason: "the batch has this column twice"}
		}
		seen[f.Name] = true
		i, known := places[f.Name]
		// New for the bucket: null in each row there is, so it cannot be required.
		if !known {
			f.Nullable = true
			if err := lance.CheckStorable(f); err != nil {
				return Change{}, &engine.SchemaError{Column: f.Name, Reason: err.Error()}
			}
			c.added = append(c.added, f)
			fields = append(fields, f)
			continue
		}
		if SameType(fields[i], f) {
			continue
		}
		if !promotable(fields[i], f) {
			return Change{}, &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("is %s and cannot hold %s; %s would allow it", TypeName(fields[i]), TypeName(f), CastCall(f))}
		}
		// Of the column that is there everything stays but the type: its metadata is the user's.
		to := fields[i]
		to.Type = f.Type
		fields[i] = to
		c.Casts = append(c.Casts, to)
	}
	c.metadata = lance.MissingMetadata(metadata, incoming.Metadata())
	if c.None() {
		c.Schema = have
	} else {
		metadata = joinMetadata(metadata, c.metadata)
		c.Schema = arrow.NewSchema(fields, &metadata)
	}
	return c, nil
}

func joinMetadata(a, b arrow.Metadata) arrow.Metadata {
	return arrow.NewMetadata(slices.Concat(a.Keys(), b.Keys()), slices.Concat(a.Values(), b.Values()))
}

// SameType says whether values of the one column are values of the other.
func SameType(a, b arrow.Field) bool {
	return arrow.TypeEqual(a.Type, b.Type) && Extension(a) == Extension(b)
}

// SameColumns says whether batches of the one schema are batches of the other.
func SameColumns(a, b *arrow.Schema) bool {
	if a == b {
		return true
	}
	if a.NumFields() != b.NumFields() {
		return false
	}
	// In the same order as well: batches are put together column by column.
	for i, f := range a.Fields() {
		if g := b.Field(i); f.Name != g.Name || !SameType(f, g) {
			return false
		}
	}
	return true
}

// promotable says whether values of have can become values of to where none of
// them changes. Whether one would is known when it is tried.
func promotable(have, to arrow.Field) bool {
	if Extension(have) != Extension(to) {
		return false
	}
	return promotableType(have.Type, to.Type)
}

func promotableType(have, to arrow.DataType) bool {
	if l, ok := have.(*arrow.ListType); ok {
		r, ok := to.(*arrow.ListType)
		return ok && promotableType(l.Elem(), r.Elem())
	}
	switch {
	// By what may be exact, and not by what always is: of int64 to double it is known when all
	// values were looked at, and a cast that would change one is refused then.
	case arrow.IsSignedInteger(have.ID()):
		return to.ID() == arrow.UINT64 && have.ID() == arrow.INT64 ||
			arrow.IsSignedInteger(to.ID()) && width(to) > width(have) || to.ID() == arrow.FLOAT64
	case arrow.IsUnsignedInteger(have.ID()):
		return arrow.IsUnsignedInteger(to.ID()) && width(to) > width(have) || to.ID() == arrow.FLOAT64
	case arrow.IsFloating(have.ID()):
		return arrow.IsFloating(to.ID()) && width(to) > width(have)
	}
	return false
}

func width(t arrow.DataType) int { return t.(arrow.FixedWidthDataType).BitWidth() }

// Align gives rec the columns of schema: those it lacks are null. The types of
// those it has must be those of schema. The caller releases the result.
func Align(rec arrow.Record, schema *arrow.Schema) (arrow.Record, error) {
	// By the pointer, which is what the bucket's own batches have.
	if rec.Schema() == schema {
		rec.Retain()
		return rec, nil
	}
	// By name, as a batch may have its columns in any order and the bucket has one.
	places := make(map[string]int, rec.NumCols())
	for i, f := range rec.Schema().Fields() {
		places[f.Name] = i
	}
	columns := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		j, ok := places[f.Name]
		if !ok {
			columns[i] = NullArray(f, rec.NumRows())
			defer columns[i].Release()
			continue
		}
		columns[i] = rec.Column(j)
		if have := columns[i].DataType(); !arrow.TypeEqual(have, f.Type) {
			return nil, fmt.Errorf("%w: column %q has rows of type %s, want %s", engine.ErrCorrupt, f.Name, have, f.Type)
		}
	}
	return array.NewRecord(schema, columns, rec.NumRows()), nil
}
