package tasks

import (
	"math/bits"

	"github.com/persisting/persisting/engine/marks"
)

// Ready calls do with the rows that have a value in each of some columns and that a task has not consumed: bits of 64 offsets, of
// which the first is given, in order, until do returns false. A column that there is not has no values. What do does is done while
// nothing is marked.
func (t *Tasks) Ready(task string, columns []string, do func(first int64, rows uint64) bool) error {
	if err := t.markable(task, nil); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready(task, columns, do)
}

// Take marks the first rows that are ready, limit at most, and returns their offsets.
func (t *Tasks) Take(task string, columns []string, limit int64) ([]int64, error) {
	if err := t.markable(task, nil); err != nil {
		return nil, err
	}
	offsets := []int64{}
	wait, err := func() (func() error, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		err := t.ready(task, columns, func(first int64, rows uint64) bool {
			for ; rows != 0 && int64(len(offsets)) < limit; rows &= rows - 1 {
				offsets = append(offsets, first+int64(bits.TrailingZeros64(rows)))
			}
			return int64(len(offsets)) < limit
		})
		if err != nil || len(offsets) == 0 {
			return func() error { return nil }, err
		}
		return t.append(marks.MarkRecord(task, marks.RangesOf(offsets)))
	}()
	if wait == nil {
		return nil, err
	}
	return offsets, t.acknowledged(wait, err)
}

// ready is Ready for a caller that holds t.mu. It goes through 64 rows at a time, and past what the task has consumed in one run, as
// it has almost all of the rows at the front, in one step.
func (t *Tasks) ready(task string, columns []string, do func(first int64, rows uint64) bool) error {
	end, err := t.rows.Renew(false)
	if err != nil {
		return err
	}
	first, err := t.rows.FirstFrom(0)
	if err != nil {
		return err
	}
	t.presence.mu.Lock()
	defer t.presence.mu.Unlock()
	sets, err := t.presence.look(columns, end)
	if err != nil {
		return err
	}
	// A task that was never heard of has consumed nothing.
	marked := t.marks.Of(task)
	if marked == nil {
		marked = &marks.Set{}
	}
	for at := first / 64 * 64; at < end; at += 64 {
		if rest, in := marked.Run(at); in {
			at += rest - 64
			continue
		}
		rows := ^marked.Word(at)
		for _, set := range sets {
			rows &= set.Word(at)
		}
		// Rows before the first that is left may be in the sets: these are not made anew for a
		// removal from the front.
		if at < first {
			rows &= ^uint64(0) << (first - at)
		}
		// And rows behind the end, which came while a column was asked for.
		if end-at < 64 {
			rows &= 1<<(end-at) - 1
		}
		if rows != 0 && !do(at, rows) {
			break
		}
	}
	return nil
}
