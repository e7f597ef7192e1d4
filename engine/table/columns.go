package table

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/lance"
)

// Step makes a version of a table with other columns.
type Step = func(*lance.Table) (*lance.Snapshot, error)

// Alter makes one new version with other columns: the steps, which begin with a table that has the columns of schema,
// happen all or none. The version is seen once it is published. The caller holds t.Reshaping and t.Growing.
func (t *Table) Alter(schema *arrow.Schema, steps ...Step) (*lance.Snapshot, error) {
	return t.commit(func() (*lance.Snapshot, error) { return t.step(schema, steps) })
}

// step makes a table with the columns of schema, if it is not there, and takes the
// steps. Where a step after the first fails, the table is in between, and only
// opening it anew brings it back.
func (t *Table) step(schema *arrow.Schema, steps []Step) (*lance.Snapshot, error) {
	snapshot, err := t.withColumns(schema)
	if err != nil {
		return nil, err
	}
	for i, take := range steps {
		snapshot.Release()
		if snapshot, err = take(t.lance()); err != nil {
			err = fmt.Errorf("engine: change table: %w", err)
			// The first step alone left what it began with. After that the table has columns which
			// its owner does not know of, and an append would be refused by Lance or, worse, not
			// be.
			if i > 0 {
				err = t.home.Refuse(err)
			}
			return nil, err
		}
	}
	return snapshot, nil
}

// withColumns returns the newest version of the table, after it was given the columns
// of schema that it lacks.
func (t *Table) withColumns(schema *arrow.Schema) (*lance.Snapshot, error) {
	// A bucket whose columns were declared before any row makes its table here, without one.
	table := t.lance()
	if table == nil {
		return t.create(schema)
	}
	if schema != nil {
		if err := widen(table, schema); err != nil {
			return nil, err
		}
	}
	snapshot, err := table.Snapshot()
	if err != nil {
		err = fmt.Errorf("engine: read table: %w", err)
	}
	return snapshot, err
}

// Cast gives a column another type, where the table has it; else there is no version. It fails with
// [lance.ErrInexact] where a value would not come back as it was. The caller holds t.Reshaping and t.Growing.
func (t *Table) Cast(to arrow.Field) (*lance.Snapshot, error) {
	if schema := t.Schema(); schema == nil || !schema.HasField(to.Name) {
		return nil, nil
	}
	return t.commit(func() (*lance.Snapshot, error) {
		snapshot, err := t.lance().CastColumn(to.Name, to)
		if err != nil {
			err = fmt.Errorf("engine: promote column %q: %w", to.Name, err)
		}
		return snapshot, err
	})
}
