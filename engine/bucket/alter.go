package bucket

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// Columns changes what the rows of a bucket are made of. All appends wait while it does.
type Columns struct {
	*core
	rows    *rows
	flusher *flusher
	ingest  *ingest
}

// alter makes one new version of the table with other columns: the steps, which
// begin with a table of the bucket's columns, happen all or none. check comes
// first and sees the columns.
func (cs *Columns) alter(check func(*arrow.Schema) error, steps ...table.Step) error {
	// Appends wait from before the check until the end: one of them could bring the column that is being added.
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
func (cs *Columns) replaceColumns(snapshot *lance.Snapshot) error {
	schema := snapshot.Schema()
	// The table has other columns already. A bucket that went on with the old ones would write what the table cannot take.
	if err := cs.rows.replaceTable(snapshot); err != nil {
		return cs.home.Refuse(err)
	}
	cs.rows.mu.Lock()
	defer cs.rows.mu.Unlock()
	cs.rows.setSchema(schema)
	cs.rows.changes.Add(1)
	return nil
}

// add is Add for a caller that holds cs.ingest.appending; metadata is
// that of the schema, whose keys keep the value that they have.
func (cs *Columns) add(fields []arrow.Field, metadata arrow.Metadata) error {
	// All columns in the order that the bucket has them, since the table may be made with this
	// schema.
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
		// Under the same lock as the change: the next append may bring the column.
		cs.ingest.declare(fields...)
		return cs.replaceColumns(snapshot)
	})
}

// addToEmpty adds a column to a bucket without rows, where there is nothing to
// fill, and says whether it was one.
func (cs *Columns) addToEmpty(f arrow.Field) (bool, error) {
	cs.ingest.lockAppends()
	defer cs.ingest.appending.Unlock()
	if err := cs.writable(); err != nil {
		return false, err
	}
	if cs.rows.tail.Next() > 0 {
		return false, nil
	}
	return true, cs.add([]arrow.Field{f}, arrow.Metadata{})
}

// added lets puts have a column that was added, unless err says that it was not.
func (cs *Columns) added(f arrow.Field, err error) error {
	if err == nil {
		cs.ingest.lockAppends()
		defer cs.ingest.appending.Unlock()
		cs.ingest.declare(f)
	}
	return err
}

// anchor sees to it that, once a column is gone, some column is in the files of
// every fragment: Lance cannot read one whose columns were all dropped. The first
// column always is, unless it is JSON, and that of the keys once it was rewritten.
func (cs *Columns) anchor(t *lance.Table, dropped string) (*lance.Snapshot, error) {
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

// rewriteKeys follows the change of a column's name where its key has no value.
func (cs *Columns) rewriteKeys(t *lance.Table, key string, to *string) (*lance.Snapshot, error) {
	if cs.rows.schema.HasField(batch.UntypedColumn) {
		return t.RewriteKeys(batch.UntypedColumn, key, to)
	}
	return t.Snapshot()
}
