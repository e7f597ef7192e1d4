package table

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// Append adds rows from offset from on, and the columns of schema that the table lacks; the table is made with the
// first rows. The version is on disk, and is seen once it is published. The caller holds t.Growing.
func (t *Table) Append(schema *arrow.Schema, batches []arrow.Record, from int64) (*lance.Snapshot, error) {
	to := from
	for _, rec := range batches {
		to += rec.NumRows()
	}
	snapshot, err := t.commit(func() (*lance.Snapshot, error) {
		snapshot, err := t.add(schema, batches, from)
		if err != nil {
			return nil, err
		}
		// A row's offset is its row id. Where Lance has given others, what is in the log and what
		// is in the table would be two buckets.
		if next := snapshot.NextRowID(); next != to {
			snapshot.Release()
			return nil, t.home.Refuse(fmt.Errorf("%w: rows %d to %d ended at row id %d", engine.ErrCorrupt, from, to, next))
		}
		return snapshot, nil
	})
	// One that failed may be in the table all the same, as when the commit went through and the
	// sync did not. The next append looks where the table ends before it adds anything.
	t.unsure = err != nil
	return snapshot, err
}

// add appends batches to the table, which it makes with them if there is none.
func (t *Table) add(schema *arrow.Schema, batches []arrow.Record, from int64) (*lance.Snapshot, error) {
	table := t.lance()
	if table == nil {
		return t.create(schema, batches...)
	}
	// Only after a failure: it takes a look at the disk.
	if t.unsure {
		if err := t.endsAt(table, from); err != nil {
			return nil, err
		}
	}
	if err := widen(table, schema); err != nil {
		return nil, err
	}
	snapshot, err := table.Append(batches)
	if err != nil {
		err = fmt.Errorf("engine: append to table: %w", err)
	}
	return snapshot, err
}

// endsAt has writes refused unless the table ends, after an append that failed, where this one begins.
func (t *Table) endsAt(table *lance.Table, from int64) error {
	current, err := table.Snapshot()
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	defer current.Release()
	if next := current.NextRowID(); next != from {
		return t.home.Refuse(fmt.Errorf("%w: the table ends at row id %d after a flush that failed, want %d", engine.ErrCorrupt, next, from))
	}
	return nil
}

func (t *Table) create(schema *arrow.Schema, batches ...arrow.Record) (*lance.Snapshot, error) {
	table, err := lance.Create(t.path, schema, t.o.Config, batches...)
	if err != nil {
		// Nothing of it was ever marked, so it can go at once; else the next flush would find a
		// table that it did not make.
		return nil, errors.Join(fmt.Errorf("engine: create table: %w", err), t.discard())
	}
	t.mu.Lock()
	t.table = table
	t.mu.Unlock()
	return table.Snapshot()
}

// discard takes away what there is of a table whose making has failed, so that
// it can be made anew.
func (t *Table) discard() error {
	if err := t.home.Owned(); err != nil {
		return err
	}
	_, err := lance.Discard(t.path)
	return err
}

// Remove makes a version with fewer rows, as do leaves the table, which gets the version before, and says how many
// are gone. There is no version where there is no table. The caller holds t.Reshaping and t.Growing.
func (t *Table) Remove(do func(*lance.Table, *lance.Snapshot) (*lance.Snapshot, error)) (after *lance.Snapshot, removed int64, err error) {
	before := t.Newest()
	if before == nil {
		return nil, 0, nil
	}
	defer before.Release()
	// Newest cannot move: the caller holds both locks.
	after, err = t.commit(func() (*lance.Snapshot, error) {
		snapshot, err := do(t.lance(), before)
		if err != nil {
			err = fmt.Errorf("engine: remove rows: %w", err)
		}
		return snapshot, err
	})
	if err != nil {
		return nil, 0, err
	}
	return after, before.Rows() - after.Rows(), nil
}

// Run is the offsets [first, end).
type Run = [2]int64

// Runs lists the offsets of the rows that are left of [first, end).
func Runs(s *lance.Snapshot, first, end int64) ([]Run, error) {
	runs := []Run{}
	for at := first; at < end; {
		_, from, to, err := s.Place(at)
		if err != nil {
			return nil, fmt.Errorf("engine: look for removed rows: %w", err)
		}
		if from == to {
			break
		}
		runs = AddRun(runs, min(from, end), min(to, end))
		// To the end of the run, so that the loop takes as many steps as there are runs, not rows.
		at = to
	}
	return runs, nil
}

// AddRun adds offsets that come after all in runs.
func AddRun(runs []Run, first, end int64) []Run {
	if n := len(runs); n > 0 && runs[n-1][1] == first {
		runs[n-1][1] = end
	} else if first < end {
		runs = append(runs, Run{first, end})
	}
	return runs
}

// Left returns where the rows [first, end) end that have no removed row before them, of a store whose rows end at
// visible. It fails with an [*engine.RemovedError] where the first of them was removed.
func Left(s *lance.Snapshot, first, end, visible int64) (int64, error) {
	_, from, to, err := s.Place(first)
	if err != nil {
		return 0, fmt.Errorf("engine: look for removed rows: %w", err)
	}
	if from > first {
		return 0, &engine.RemovedError{Offset: first, First: from, Left: from < visible}
	}
	return min(to, end), nil
}

// removed says which of the ids, rows of the table, is not left, of a store whose rows end at visible.
func removed(s *lance.Snapshot, ids []int64, visible int64) error {
	for _, id := range ids {
		_, first, _, err := s.Place(id)
		if err != nil {
			return fmt.Errorf("engine: look for removed rows: %w", err)
		}
		if first != id {
			return &engine.RemovedError{Offset: id, First: first, Left: first < visible}
		}
	}
	// Lance gave fewer rows than asked for, and each of them is left: this is not what a removal
	// looks like.
	return fmt.Errorf("%w: the table lacks rows that were not removed", engine.ErrCorrupt)
}

// widen sees to it that the table has the columns and the metadata of schema.
func widen(table *lance.Table, schema *arrow.Schema) error {
	current, err := table.Snapshot()
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	defer current.Release()
	var missing []arrow.Field
	for _, f := range schema.Fields() {
		if !current.Schema().HasField(f.Name) {
			missing = append(missing, f)
		}
	}
	metadata := lance.MissingMetadata(current.Schema().Metadata(), schema.Metadata())
	if len(missing) == 0 && metadata.Len() == 0 {
		return nil
	}
	// A version of its own, without a byte of data: the append that follows is the next. Both come
	// to the disk by the same sync.
	widened, err := table.AddColumns(missing, metadata)
	if err != nil {
		return fmt.Errorf("engine: add columns to table: %w", err)
	}
	widened.Release()
	return nil
}
