package bucket

import (
	"fmt"
	"slices"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/marks"
)

// Mark notes that a task has consumed the rows at some offsets, which must exist or have existed.
func (b *Bucket) Mark(task string, offsets []int64) error {
	if err := b.markable(task, offsets); err != nil || len(offsets) == 0 {
		return err
	}
	return b.consumption.note(marks.MarkRecord(task, marks.RangesOf(offsets)))
}

// Unmark forgets all that a task has consumed.
func (b *Bucket) Unmark(task string) error {
	if err := b.markable(task, nil); err != nil {
		return err
	}
	return b.consumption.note(marks.UnmarkRecord(task))
}

// Clear removes the rows at some offsets, and that any task has consumed them; it returns how many there were. Those that were
// removed before are passed over. The others keep their offsets.
func (b *Bucket) Clear(offsets []int64) (int64, error) {
	if err := b.existed(offsets); err != nil || len(offsets) == 0 {
		return 0, err
	}
	ranges := marks.RangesOf(offsets)
	removed, err := b.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.DeleteRows(offsets) })
	if err != nil {
		return 0, err
	}
	b.presence.remove(ranges)
	return removed, b.consumption.noteIf(marks.ClearRecord(ranges))
}

// Marked returns how many rows each task has consumed.
func (b *Bucket) Marked() (map[string]int64, error) {
	if b.closing.Load() {
		return nil, engine.ErrClosed
	}
	b.consumption.mu.Lock()
	defer b.consumption.mu.Unlock()
	return b.consumption.marks.Counts(), nil
}

// markable returns the reason why nothing can be marked at some offsets for a task.
func (b *Bucket) markable(task string, offsets []int64) error {
	if task == "" || len(task) > maxTaskName {
		return fmt.Errorf("%w: the name of a task has %d bytes, want 1 to %d", engine.ErrName, len(task), maxTaskName)
	}
	return b.existed(offsets)
}

// existed returns the reason why nothing can be written of the rows at some offsets.
func (b *Bucket) existed(offsets []int64) error {
	if err := b.writable(); err != nil {
		return err
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := b.ingest.catchUp(false); err != nil {
		return err
	}
	end := b.rows.acknowledgedRows()
	if least, most := slices.Min(offsets), slices.Max(offsets); least < 0 || most >= end {
		return fmt.Errorf("%w: offsets %d to %d, the rows are 0 to %d", engine.ErrNotFound, least, most, end-1)
	}
	return nil
}
