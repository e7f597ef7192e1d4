package bucket

import (
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// still calls do while all rows are in the table and nothing else changes it. The
// caller holds b.appending.
func (b *Bucket) still(do func() error) error {
	if err := b.syncLog(); err != nil {
		return err
	}
	if err := b.flush(false); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	b.table.Growing.Lock()
	defer b.table.Growing.Unlock()
	return do()
}

// syncLog waits until all that was appended is acknowledged.
func (b *Bucket) syncLog() error {
	if b.log == nil {
		return nil
	}
	if err := b.log.Sync(background); err != nil {
		return b.writeError(err)
	}
	return nil
}

// alter makes one new version of the table with other columns: the steps, which
// begin with a table of the bucket's columns, happen all or none. check comes
// first and sees the columns.
func (b *Bucket) alter(check func(*arrow.Schema) error, steps ...table.Step) error {
	b.lockAppends()
	defer b.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	if err := check(b.schema); err != nil {
		return err
	}
	return b.still(func() error {
		snapshot, err := b.table.Alter(b.schema, steps...)
		if err != nil {
			return err
		}
		return b.replaceColumns(snapshot)
	})
}

// replaceTable installs a version whose rows differ from those in memory, which
// takes their place.
func (b *Bucket) replaceTable(snapshot *lance.Snapshot) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.install(snapshot, b.checkpoint)
	b.schemaVersion++
	return b.tail.cut(b.checkpoint)
}

// replaceColumns is replaceTable for other columns. The caller holds b.appending.
func (b *Bucket) replaceColumns(snapshot *lance.Snapshot) error {
	schema := snapshot.Schema()
	if err := b.replaceTable(snapshot); err != nil {
		return b.home.Refuse(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setSchema(schema)
	return nil
}

// AddColumns adds nullable columns that are null in every row there is. No data is
// written.
func (b *Bucket) AddColumns(fields []arrow.Field) error {
	b.lockAppends()
	defer b.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	return b.addColumns(fields)
}

// addColumns is AddColumns for a caller that holds b.appending.
func (b *Bucket) addColumns(fields []arrow.Field) error {
	all := []arrow.Field{}
	if b.schema != nil {
		all = append(all, b.schema.Fields()...)
	}
	for _, f := range fields {
		f.Nullable = true
		if err := batch.CheckNew(b.schema, f); err != nil {
			return err
		}
		all = append(all, f)
	}
	return b.still(func() error {
		snapshot, err := b.table.Alter(arrow.NewSchema(all, nil))
		if err != nil {
			return err
		}
		b.declare(fields...)
		return b.replaceColumns(snapshot)
	})
}

// FillColumn adds a nullable column with the one value of row, a record of one row
// and that column, in every row there is.
func (b *Bucket) FillColumn(row arrow.Record) error {
	if row.NumCols() != 1 || row.NumRows() != 1 {
		return &engine.SchemaError{Reason: fmt.Sprintf("a default is one row of one column, not %d of %d", row.NumRows(), row.NumCols())}
	}
	f := row.Schema().Field(0)
	if empty, err := b.addToEmpty(f); empty || err != nil {
		return err
	}
	err := b.alter(
		func(schema *arrow.Schema) error { return batch.CheckNew(schema, f) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.FillColumn(row) },
	)
	return b.added(f, err)
}

// ComputeColumn adds a nullable column with the value of an SQL expression over the
// other columns in every row there is. The type of f may be nil: the expression's.
// It fails with an [*ExpressionError] for a bad expression, and with a
// [*SchemaError] when f cannot hold one of the values.
func (b *Bucket) ComputeColumn(f arrow.Field, expression string) error {
	if f.Type != nil {
		if empty, err := b.addToEmpty(f); empty || err != nil {
			return err
		}
	}
	var computed arrow.Field
	err := b.alter(
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
	return b.added(computed, err)
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
func (b *Bucket) addToEmpty(f arrow.Field) (bool, error) {
	b.lockAppends()
	defer b.appending.Unlock()
	if err := b.writable(); err != nil {
		return false, err
	}
	if b.tail.next > 0 {
		return false, nil
	}
	return true, b.addColumns([]arrow.Field{f})
}

// added lets puts have a column that was added, unless err says that it was not.
func (b *Bucket) added(f arrow.Field, err error) error {
	if err == nil {
		b.lockAppends()
		defer b.appending.Unlock()
		b.declare(f)
	}
	return err
}

// DropColumn takes a column out. Its values are gone at once, and the space that
// they take when their files are compacted.
func (b *Bucket) DropColumn(name string) error {
	err := b.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			if users := batch.UserColumns(schema); len(users) == 1 {
				return &engine.SchemaError{Column: name, Reason: "is the only column: a bucket keeps at least one"}
			}
			return nil
		},
		func(t *lance.Table) (*lance.Snapshot, error) { return b.anchor(t, name) },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.DropColumn(name) },
	)
	if err == nil {
		b.lockAppends()
		defer b.appending.Unlock()
		delete(b.declared, name)
	}
	return err
}

// anchor sees to it that, once a column is gone, some column is in the files of
// every fragment: Lance cannot read one whose columns were all dropped. The first
// column always is, unless it is JSON, and that of the keys once it was rewritten.
func (b *Bucket) anchor(t *lance.Table, dropped string) (*lance.Snapshot, error) {
	if b.schema.HasField(batch.UntypedColumn) {
		return b.rewriteKeys(t, dropped, nil)
	}
	if first := b.schema.Field(0); first.Name != dropped && batch.Extension(first) == "" {
		return t.Snapshot()
	}
	var indexed error
	for _, f := range b.schema.Fields() {
		if f.Name == dropped || batch.Extension(f) != "" { // JSON cannot be written anew
			continue
		}
		if err := b.table.CheckUnindexed(f.Name, fmt.Sprintf("column %q is dropped", dropped)); err != nil {
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
	err := b.alter(
		func(schema *arrow.Schema) error {
			if err := batch.CheckThere(schema, name); err != nil {
				return err
			}
			f := batch.ColumnOf(schema, name)
			f.Name = to
			return batch.CheckNew(schema, f)
		},
		func(t *lance.Table) (*lance.Snapshot, error) { return t.RenameColumn(name, to) },
		func(t *lance.Table) (*lance.Snapshot, error) { return b.rewriteKeys(t, name, &to) },
	)
	if err == nil {
		b.lockAppends()
		defer b.appending.Unlock()
		if f, ok := b.declared[name]; ok {
			f.Name = to
			delete(b.declared, name)
			b.declare(f)
		}
	}
	return err
}

// CastColumn gives a column another type, in one commit. It fails with a
// [*SchemaError], and changes nothing, when a value would not come back as it was
// from a cast back.
func (b *Bucket) CastColumn(to arrow.Field) error {
	b.lockAppends()
	defer b.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	if err := batch.CheckThere(b.schema, to.Name); err != nil {
		return err
	}
	have := batch.ColumnOf(b.schema, to.Name)
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
	err := b.promote([]arrow.Field{to})
	if errors.Is(err, lance.ErrSchema) {
		err = &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and cannot become %s: %v", batch.TypeName(have), batch.TypeName(to), err)}
	}
	if f, ok := b.declared[to.Name]; ok && err == nil {
		f.Type, f.Metadata = to.Type, to.Metadata
		b.declare(f)
	}
	return err
}

// rewriteKeys follows the change of a column's name where its key has no value.
func (b *Bucket) rewriteKeys(t *lance.Table, key string, to *string) (*lance.Snapshot, error) {
	if b.schema.HasField(batch.UntypedColumn) {
		return t.RewriteKeys(batch.UntypedColumn, key, to)
	}
	return t.Snapshot()
}

// Declare makes the columns of schema those that appends may have from now on:
// others are refused, as are other types. Columns that the bucket lacks are added;
// one that is not nullable must have a value in each row that is appended.
func (b *Bucket) Declare(schema *arrow.Schema) error {
	b.lockAppends()
	defer b.appending.Unlock()
	if err := b.writable(); err != nil {
		return err
	}
	var missing []arrow.Field
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		if seen[f.Name] {
			return &engine.SchemaError{Column: f.Name, Reason: "is declared twice"}
		}
		seen[f.Name] = true
		if b.schema == nil || !b.schema.HasField(f.Name) {
			missing = append(missing, f)
			continue
		}
		if have := batch.ColumnOf(b.schema, f.Name); !batch.SameType(have, f) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("is %s and was declared as %s; %s would allow it", batch.TypeName(have), batch.TypeName(f), batch.CastCall(f))}
		}
	}
	if len(seen) == 0 {
		return &engine.SchemaError{Reason: "a declared schema has at least one column"}
	}
	if len(missing) > 0 {
		if err := b.addColumns(missing); err != nil {
			return err
		}
	}
	b.declared = map[string]arrow.Field{}
	b.declare(schema.Fields()...)
	return nil
}

// declare lets appends have more columns, if they may not have any. The caller
// holds b.appending.
func (b *Bucket) declare(fields ...arrow.Field) {
	if b.declared == nil {
		return
	}
	for _, f := range fields {
		b.declared[f.Name] = f
	}
	b.fits = nil
}

// checkDeclared refuses what a batch asks of the schema if it was not declared.
func (b *Bucket) checkDeclared(rec arrow.Record, c batch.Change) error {
	if b.declared == nil {
		return nil
	}
	for _, f := range rec.Schema().Fields() {
		if _, ok := b.declared[f.Name]; !ok && !strings.HasPrefix(f.Name, batch.ReservedPrefix) {
			return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was not declared; add_column(%q, %q) would allow it", f.Name, batch.TypeName(f))}
		}
	}
	for _, f := range c.Casts {
		have := batch.ColumnOf(b.schema, f.Name)
		return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("was declared as %s and cannot hold %s; %s would allow it", batch.TypeName(have), batch.TypeName(f), batch.CastCall(f))}
	}
	return nil
}

// requires says whether a column was declared as not nullable.
func (b *Bucket) requires() bool {
	for _, f := range b.declared {
		if !f.Nullable {
			return true
		}
	}
	return false
}

// checkRequired refuses a batch that lacks a value of a column that was declared as
// not nullable.
func (b *Bucket) checkRequired(rec arrow.Record) error {
	for name, f := range b.declared {
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
