package engine

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine/lance"
)

// RemovedError is an [ErrRemoved], and with it an [ErrNotFound].
type RemovedError struct {
	Offset int64
	First  int64 // the first offset after it whose row is left
	Left   bool  // whether there is one; else First is that of the next row to be put
}

func (e *RemovedError) Error() string {
	if !e.Left {
		return fmt.Sprintf("engine: the row at offset %d was removed, and no row is left after it: the next one gets offset %d", e.Offset, e.First)
	}
	return fmt.Sprintf("engine: the row at offset %d was removed: the first one left is at offset %d", e.Offset, e.First)
}

// Detail returns First.
func (e *RemovedError) Detail() int64 { return e.First }

// Unwrap returns ErrRemoved.
func (e *RemovedError) Unwrap() error { return ErrRemoved }

// Delete removes the acknowledged rows for which an SQL filter is true and returns
// how many. The others keep their offsets. Appends go on meanwhile; rows that come
// after the call stay. It fails with an [*ExpressionError] for a bad filter. The
// space is given back by compactions.
func (b *Bucket) Delete(filter string) (int64, error) {
	removed, err := b.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.Delete(filter) })
	if errors.Is(err, lance.ErrInvalid) || errors.Is(err, lance.ErrSchema) {
		err = &ExpressionError{Expression: filter, Reason: reason(err)}
	}
	return removed, err
}

// TruncateBefore removes the rows below an offset, which may be that after the last
// one, and returns how many.
func (b *Bucket) TruncateBefore(offset int64) (int64, error) {
	if err := b.catchUp(false); err != nil {
		return 0, err
	}
	if end := b.acknowledgedRows(); offset < 0 || offset > end {
		return 0, fmt.Errorf("%w: offset %d, want 0 to %d", ErrNotFound, offset, end)
	}
	return b.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.DeleteBefore(offset) })
}

// remove makes a version of the table with fewer of the rows that are acknowledged
// now; do gets the version before.
func (b *Bucket) remove(do func(*lance.Table, *lance.Snapshot) (*lance.Snapshot, error)) (int64, error) {
	if err := b.writable(); err != nil {
		return 0, err
	}
	if err := b.catchUp(false); err != nil {
		return 0, err
	}
	if err := b.flush(false); err != nil {
		return 0, err
	}
	return b.removeFlushed(do)
}

// removeFlushed is remove for the rows that are in the table.
func (b *Bucket) removeFlushed(do func(*lance.Table, *lance.Snapshot) (*lance.Snapshot, error)) (int64, error) {
	if err := b.writable(); err != nil {
		return 0, err
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	b.flushing.Lock()
	defer b.flushing.Unlock()
	before := b.newest()
	if before == nil {
		return 0, nil
	}
	defer before.Release()
	after, err := b.change(func() (*lance.Snapshot, error) {
		snapshot, err := do(b.table, before)
		if err != nil {
			err = fmt.Errorf("engine: remove rows: %w", err)
		}
		return snapshot, err
	})
	if err != nil {
		return 0, err
	}
	removed := before.Rows() - after.Rows()
	if err := b.replaceTable(after); err != nil {
		return 0, b.poisonWith(err)
	}
	return removed, nil
}

// left narrows a view to the rows at its start that have no removed row before
// them, or says that its first row was removed.
func (v *view) left() error {
	if v.snapshot == nil || v.first >= v.memory {
		return nil
	}
	_, first, end, err := v.snapshot.Place(v.first)
	if err != nil {
		return fmt.Errorf("engine: look for removed rows: %w", err)
	}
	if first > v.first {
		return &RemovedError{Offset: v.first, First: first, Left: first < v.visible}
	}
	if end < v.memory {
		v.end, v.memory = end, end
		release(v.chunks)
		v.chunks = nil
	}
	return nil
}

// removed says which of the ids, rows of the table, is not left.
func (v *view) removed(ids []int64) error {
	for _, id := range ids {
		_, first, _, err := v.snapshot.Place(id)
		if err != nil {
			return fmt.Errorf("engine: look for removed rows: %w", err)
		}
		if first != id {
			return &RemovedError{Offset: id, First: first, Left: first < v.visible}
		}
	}
	return fmt.Errorf("%w: the table lacks rows that were not removed", ErrCorrupt)
}

// run is the offsets [first, end).
type run = [2]int64

// runs lists the offsets of the rows of a view.
func (v *view) runs() ([]run, error) {
	runs := []run{}
	add := func(first, end int64) {
		if n := len(runs); n > 0 && runs[n-1][1] == first {
			runs[n-1][1] = end
		} else if first < end {
			runs = append(runs, run{first, end})
		}
	}
	for at := v.first; at < v.memory; {
		_, first, end, err := v.snapshot.Place(at)
		if err != nil {
			return nil, fmt.Errorf("engine: look for removed rows: %w", err)
		}
		if first == end {
			break
		}
		add(min(first, v.memory), min(end, v.memory))
		at = end
	}
	add(v.memory, v.end)
	return runs, nil
}

// FirstFrom returns the first offset at or after offset whose row is left, or that
// of the next row to be put when there is none.
func (b *Bucket) FirstFrom(offset int64) (int64, error) {
	if offset < 0 {
		return 0, fmt.Errorf("%w: offset %d must not be negative", ErrNotFound, offset)
	}
	_ = b.catchUp(true) // what is put meanwhile need not be seen
	v, err := b.view(offset, 1<<62)
	if err != nil {
		return 0, err
	}
	defer v.unpin()
	defer release(v.chunks)
	if v.snapshot == nil {
		return v.first, nil
	}
	_, first, _, err := v.snapshot.Place(v.first)
	return min(first, v.visible), err
}
