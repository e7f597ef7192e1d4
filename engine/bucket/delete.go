package bucket

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tail"
)

// Delete removes the acknowledged rows for which an SQL filter is true and returns
// how many. The others keep their offsets. Appends go on meanwhile; rows that come
// after the call stay. It fails with an [*ExpressionError] for a bad filter. The
// space is given back by compactions.
func (b *Bucket) Delete(filter string) (int64, error) {
	removed, err := b.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.Delete(filter) })
	// Whatever came of it: one that failed may have happened.
	b.rows.changes.Add(1)
	if errors.Is(err, lance.ErrInvalid) || errors.Is(err, lance.ErrSchema) {
		err = &engine.ExpressionError{Expression: filter, Reason: table.Reason(err)}
	}
	return removed, err
}

// TruncateBefore removes the rows below an offset, which may be that after the last
// one, and returns how many.
func (b *Bucket) TruncateBefore(offset int64) (int64, error) {
	if err := b.ingest.catchUp(false); err != nil {
		return 0, err
	}
	if end := b.rows.acknowledgedRows(); offset < 0 || offset > end {
		return 0, fmt.Errorf("%w: offset %d, want 0 to %d", engine.ErrNotFound, offset, end)
	}
	return b.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.DeleteBefore(offset) })
}

// remove makes a version of the table with fewer of the rows that are acknowledged
// now; do gets the version before.
func (b *Bucket) remove(do func(*lance.Table, *lance.Snapshot) (*lance.Snapshot, error)) (int64, error) {
	if err := b.writable(); err != nil {
		return 0, err
	}
	if err := b.ingest.catchUp(false); err != nil {
		return 0, err
	}
	// Then the table alone decides, and memory keeps no row that it lacks.
	if err := b.flusher.flush(false); err != nil {
		return 0, err
	}
	return b.flusher.removeFlushed(do)
}

// FirstFrom returns the first offset at or after offset whose row is left, or that
// of the next row to be put when there is none.
func (b *Bucket) FirstFrom(offset int64) (int64, error) {
	if offset < 0 {
		return 0, fmt.Errorf("%w: offset %d must not be negative", engine.ErrNotFound, offset)
	}
	if err := b.ingest.glance(); err != nil {
		return 0, err
	}
	// Of the rows from there on all, since the first that is left may be the last one.
	v, err := b.rows.view(offset, 1<<62)
	if err != nil {
		return 0, err
	}
	defer v.unpin()
	defer tail.Release(v.chunks)
	if v.snapshot == nil {
		return v.first, nil
	}
	_, first, _, err := v.snapshot.Place(v.first)
	return min(first, v.visible), err
}
