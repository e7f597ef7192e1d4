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

// columns changes what the rows of a bucket are made of.
type columns struct {
	*core
	rows    *rows
	flusher *flusher
	ingest  *ingest
}

// alter makes one new version of the table with other columns: the steps, which
// begin with a table of the bucket's columns, happen all or none. check comes
// first and sees the columns.
func (cs *columns) alter(check func(*arrow.Schema) error, steps ...table.Step) error {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return err
	}
	if err := check(cs.rows.schema); err != nil {
		return err
	}
	return cs.flusher.still(func() error {
		snapshot, err := cs.table.Alter(cs.rows.schema, steps...)
		if err != nil {
			return err
		}
		return cs.replaceColumns(snapshot)
	})
}

// replaceColumns is replaceTable for other columns. The caller holds cs.ingest.appending.
func (cs *columns) replaceColumns(snapshot *lance.Snapshot) error {
	schema := snapshot.Schema()
	if err := cs.rows.replaceTable(snapshot); err != nil {
		return cs.home.Refuse(err)
	}
	cs.rows.mu.Lock()
	defer cs.rows.mu.Unlock()
	cs.rows.setSchema(schema)
	return nil
}

// AddColumns adds nullable columns that are null in every row there is. No data is
// written.
func (b *Bucket) AddColumns(fields []arrow.Field) error {
	b.ingest.lockAppends()
	defer b.ingest.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	return b.columns.addColumns(fields, arrow.Metadata{})
}

// addColumns is AddColumns for a caller that holds cs.ingest.appending; metadata is
// that of the schema, whose keys keep the value that they have.
func (cs *columns) addColumns(fields []arrow.Field, metadata arrow.Metadata) error {
	all := []arrow.Field{}
	if cs.rows.schema != nil {
		all = append(all, cs.rows.schema.Fields()...)
	}
	for _, f := range fields {
		f.Nullable = true
		if err := batch.CheckNew(cs.rows.schema, f); err != nil {
			return err
		}
		all = append(all, f)
	}
	return cs.flusher.still(func() error {
		snapshot, err := cs.table.Alter(arrow.NewSchema(all, &metadata))
		if err != nil {
			return err
		}
		cs.ingest.declare(fields...)
		return cs.replaceColumns(snapshot)
	})
}

// FillColumn adds a nullable column with the one value of row, a record of one row
// and that column, in every row there is.
func (b *Bucket) FillColumn(row arrow.Record) error {
	if row.NumCols() != 1 || row.NumRows() != 1 {
		return &engine.SchemaError{Reason: fmt.Sprintf("a default is one row of one column, not %d of %d", row.NumRows(), row.NumCols())}
	}
	f := row.Schema().Field(0)
	if empty, err := b.columns.addToEmpty(f); empty || err != nil {
		return err
	}
	err := b.columns.alter(
		func(schema *arrow.Schema) error { return batch.CheckNew(schema, f) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.FillColumn(row) },
	)
	return b.columns.added(f, err)
}

// ComputeColumn adds a nullable column with the value of an SQL expression over the
// other columns in every row there is. The type of f may be nil: the expression's.
// It fails with an [*ExpressionError] for a bad expression, and with a
// [*SchemaError] when f cannot hold one of the values.
func (b *Bucket) ComputeColumn(f arrow.Field, expression string) error {
	if f.Type != nil {
		if empty, err := b.columns.addToEmpty(f); empty || err != nil {
			return err
		}
	}
	var computed arrow.Field
	err := b.columns.alter(
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
	case errors.Is(err, lance.ErrInexact):
		err = &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("%s cannot hold all values of %q exactly: %v; put a CAST into the expression", batch.TypeName(computed), expression, err)}
	case errors.Is(err, lance.ErrInvalid), errors.Is(err, lance.ErrSchema):
		err = &engine.ExpressionError{Expression: expression, Reason: table.Reason(err)}
	}
	return b.columns.added(computed, err)
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

// addToEmpty adds a column to a bucket without rows, where there is nothing to
// fill, and says whether it was one.
func (cs *columns) addToEmpty(f arrow.Field) (bool, error) {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return false, err
	}
	if cs.rows.tail.next > 0 {
		return false, nil
	}
	return true, cs.addColumns([]arrow.Field{f}, arrow.Metadata{})
}

// added lets puts have a column that was added, unless err says that it was not.
func (cs *columns) added(f arrow.Field, err error) error {
	if err == nil {
		cs.ingest.lockAppends()
		defer cs.ingest.appending.Unlock()
		cs.ingest.declare(f)
	}
	return err
}

// DropColumn takes a column out. Its values are gone at once, and the space that
// they take when their files are compacted.
func (b *Bucket) DropColumn(name string) error {
	err := b.columns.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			if users := batch.UserColumns(schema); len(users) == 1 {
				return &engine.SchemaError{Column: name, Reason: "is the only column: a bucket keeps at least one"}
			}
			return nil
		},
		func(t *lance.Table) (*lance.Snapshot, error) { return b.columns.anchor(t, name) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.DropColumn(name) },
	)
	if err == nil {
		b.ingest.lockAppends()
		defer b.ingest.appending.Unlock()
		delete(b.ingest.declared, name)
	}
	return err
}

// anchor sees to it that, once a column is gone, some column is in the files of
// every fragment: Lance cannot read one whose columns were all dropped. The first
// column always is, unless it is JSON, and that of the keys once it was rewritten.
func (cs *columns) anchor(t *lance.Table, dropped string) (*lance.Snapshot, error) {
	if cs.rows.schema.HasField(batch.UntypedColumn) {
		return cs.rewriteKeys(t, dropped, nil)
	}
	if first := cs.rows.schema.Field(0); first.Name != dropped && batch.Extension(first) == "" {
		return t.Snapshot()
	}
	var indexed error
	for _, f := range cs.rows.schema.Fields() {
		if f.Name == dropped || batch.Extension(f) != "" { // JSON cannot be written anew
			continue
		}
		if err := cs.table.CheckUnindexed(f.Name, fmt.Sprintf("column %q is dropped", dropped)); err != nil {
			indexed = err
			continue
		}
		return t.CastColumn(f.Name, f)
	}
	if indexed != nil {
		return nil, indexed
	}
	return nil, &engine.SchemaError{Column: dropped, Reason: "columns of JSON alone cannot stay behind"}
}

// RenameColumn gives a column another name, in old rows as in new ones. No data is
// written, but for keys that are null.
func (b *Bucket) RenameColumn(name, to string) error {
	err := b.columns.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			f := batch.ColumnOf(schema, name)
			f.Name = to
			return batch.CheckNew(schema, f)
		},
		func(t *lance.Table) (*lance.Snapshot, error) { return t.RenameColumn(name, to) },
		func(t *lance.Table) (*lance.Snapshot, error) { return b.columns.rewriteKeys(t, name, &to) },
	)
	if err == nil {
		b.ingest.lockAppends()
		defer b.ingest.appending.Unlock()
		if f, ok := b.ingest.declared[name]; ok {
			f.Name = to
			delete(b.ingest.declared, name)
			b.ingest.declare(f)
		}
	}
	return err
}

// CastColumn gives a column another type, in one commit. It fails with a
// [*SchemaError], and changes nothing, when a value would not come back as it was
// from a cast back.
func (b *Bucket) CastColumn(to arrow.Field) error {
	b.ingest.lockAppends()
	defer b.ingest.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	if err := batch.CheckThere(b.rows.schema, to.Name); err != nil {
		return err
	}
	have := batch.ColumnOf(b.rows.schema, to.Name)
	if batch.SameType(have, to) {
		return nil
	}
	to.Nullable = true
	if err := lance.CheckStorable(to); err != nil {
		return &engine.SchemaError{Column: to.Name, Reason: err.Error()}
	}
	if len(have.Metadata.Keys()) > 0 && to.Metadata.Len() == 0 && batch.Extension(have) == "" {
		to.Metadata = have.Metadata
	}
	err := b.ingest.promote([]arrow.Field{to})
	if errors.Is(err, lance.ErrSchema) {
		err = &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and cannot become %s: %v", batch.TypeName(have), batch.TypeName(to), err)}
	}
	if f, ok := b.ingest.declared[to.Name]; ok && err == nil {
		f.Type, f.Metadata = to.Type, to.Metadata
		b.ingest.declare(f)
	}
	return err
}

// rewriteKeys follows the change of a column's name where its key has no value.
func (cs *columns) rewriteKeys(t *lance.Table, key string, to *string) (*lance.Snapshot, error) {
	if cs.rows.schema.HasField(batch.UntypedColumn) {
		return t.RewriteKeys(batch.UntypedColumn, key, to)
	}
	return t.Snapshot()
}
