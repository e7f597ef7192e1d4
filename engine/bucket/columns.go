package bucket

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// Add adds nullable columns that are null in every row there is. No data is
// written.
func (cs *Columns) Add(fields []arrow.Field) error {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return err
	}
	return cs.add(fields, arrow.Metadata{})
}

// Fill adds a nullable column with the one value of row, a record of one row
// and that column, in every row there is.
func (cs *Columns) Fill(row arrow.Record) error {
	if row.NumCols() != 1 || row.NumRows() != 1 {
		return &engine.SchemaError{Reason: fmt.Sprintf("a default is one row of one column, not %d of %d", row.NumRows(), row.NumCols())}
	}
	f := row.Schema().Field(0)
	if empty, err := cs.addToEmpty(f); empty || err != nil {
		return err
	}
	err := cs.alter(
		func(schema *arrow.Schema) error { return batch.CheckNew(schema, f) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.FillColumn(row) },
	)
	return cs.added(f, err)
}

// Compute adds a nullable column with the value of an SQL expression over the
// other columns in every row there is. The type of f may be nil: the expression's.
// It fails with an [*ExpressionError] for a bad expression, and with a
// [*SchemaError] when f cannot hold one of the values.
func (cs *Columns) Compute(f arrow.Field, expression string) error {
	if f.Type != nil {
		if empty, err := cs.addToEmpty(f); empty || err != nil {
			return err
		}
	}
	var computed arrow.Field
	err := cs.alter(
		func(schema *arrow.Schema) error {
			if schema == nil {
				return &engine.SchemaError{Column: f.Name, Reason: "the bucket has no columns to compute it from"}
			}
			if f.Type == nil {
				return batch.CheckName(schema, f.Name)
			}
			return batch.CheckNew(schema, f)
		},
		func(t *lance.Table) (snapshot *lance.Snapshot, err error) {
			if computed, err = typed(t, f, expression); err != nil {
				return nil, err
			}
			return t.ComputeColumn(computed, expression)
		},
	)
	switch {
	// Values were computed by then, and one of them did not fit: the advice is to say in the
	// expression what should become of it.
	case errors.Is(err, lance.ErrInexact):
		err = &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("%s cannot hold all values of %q exactly: %v; put a CAST into the expression", batch.TypeName(computed), expression, err)}
	case errors.Is(err, lance.ErrInvalid), errors.Is(err, lance.ErrSchema):
		err = &engine.ExpressionError{Expression: expression, Reason: table.Reason(err)}
	}
	return cs.added(computed, err)
}

// typed gives f the type of the expression if it has none.
func typed(t *lance.Table, f arrow.Field, expression string) (arrow.Field, error) {
	if f.Type != nil {
		return f, nil
	}
	s, err := t.Snapshot()
	if err != nil {
		return f, err
	}
	defer s.Release()
	f.Type, err = s.ExpressionType(expression)
	return f, err
}

// Drop takes a column out. Its values are gone at once, and the space that
// they take when their files are compacted.
func (cs *Columns) Drop(name string) error {
	err := cs.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			if users := batch.UserColumns(schema); len(users) == 1 {
				return &engine.SchemaError{Column: name, Reason: "is the only column: a bucket keeps at least one"}
			}
			return nil
		},
		// Before the column goes, as the files of a fragment may have no other.
		func(t *lance.Table) (*lance.Snapshot, error) { return cs.anchor(t, name) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.DropColumn(name) },
	)
	if err == nil {
		cs.ingest.lockAppends()
		defer cs.ingest.appending.Unlock()
		delete(cs.ingest.declared, name)
	}
	return err
}

// Rename gives a column another name, in old rows as in new ones. No data is
// written, but for keys that are null.
func (cs *Columns) Rename(name, to string) error {
	err := cs.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			f := batch.ColumnOf(schema, name)
			f.Name = to
			return batch.CheckNew(schema, f)
		},
		// Two steps, of which a crash keeps both or none: no row says its key by a name that the
		// column has no longer.
		func(t *lance.Table) (*lance.Snapshot, error) { return t.RenameColumn(name, to) },
		func(t *lance.Table) (*lance.Snapshot, error) { return cs.rewriteKeys(t, name, &to) },
	)
	if err == nil {
		cs.ingest.lockAppends()
		defer cs.ingest.appending.Unlock()
		if f, ok := cs.ingest.declared[name]; ok {
			f.Name = to
			delete(cs.ingest.declared, name)
			cs.ingest.declare(f)
		}
	}
	return err
}

// Cast gives a column another type, in one commit. It fails with a
// [*SchemaError], and changes nothing, when a value would not come back as it was
// from a cast back.
func (cs *Columns) Cast(to arrow.Field) error {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return err
	}
	if err := batch.CheckThere(cs.rows.schema, to.Name); err != nil {
		return err
	}
	have := batch.ColumnOf(cs.rows.schema, to.Name)
	if batch.SameType(have, to) {
		return nil
	}
	to.Nullable = true
	if err := lance.CheckStorable(to); err != nil {
		return &engine.SchemaError{Column: to.Name, Reason: err.Error()}
	}
	// A cast that says nothing of metadata is about the type: what is there stays, unless it is
	// what the type was.
	if len(have.Metadata.Keys()) > 0 && to.Metadata.Len() == 0 && batch.Extension(have) == "" {
		to.Metadata = have.Metadata
	}
	err := cs.ingest.promote([]arrow.Field{to})
	if errors.Is(err, lance.ErrSchema) {
		err = &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and cannot become %s: %v", batch.TypeName(have), batch.TypeName(to), err)}
	}
	if f, ok := cs.ingest.declared[to.Name]; ok && err == nil {
		f.Type, f.Metadata = to.Type, to.Metadata
		cs.ingest.declare(f)
	}
	return err
}

// Declare makes the columns of schema those that appends may have from now on:
// others are refused, as are other types. Columns and metadata that the bucket lacks are added;
// one that is not nullable must have a value in each row that is appended.
func (cs *Columns) Declare(schema *arrow.Schema) error {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return err
	}
	var missing []arrow.Field
	var metadata arrow.Metadata
	if cs.rows.schema != nil {
		metadata = cs.rows.schema.Metadata()
	}
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		if seen[f.Name] {
			return &engine.SchemaError{Column: f.Name, Reason: "is declared twice"}
		}
		seen[f.Name] = true
		if cs.rows.schema == nil || !cs.rows.schema.HasField(f.Name) {
			missing = append(missing, f)
			continue
		}
		if have := batch.ColumnOf(cs.rows.schema, f.Name); !batch.SameType(have, f) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("is %s and was declared as %s; %s would allow it", batch.TypeName(have), batch.TypeName(f), batch.CastCall(f))}
		}
	}
	if len(seen) == 0 {
		return &engine.SchemaError{Reason: "a declared schema has at least one column"}
	}
	// One version for all of them, or none: half of a schema that was declared is none that anybody
	// asked for.
	if len(missing) > 0 || lance.MissingMetadata(metadata, schema.Metadata()).Len() > 0 {
		if err := cs.add(missing, schema.Metadata()); err != nil {
			return err
		}
	}
	// Last, when the columns are there: a declaration that failed leaves the one before in force.
	cs.ingest.declared = batch.Declared{}
	cs.ingest.declare(schema.Fields()...)
	return nil
}
