package bucket

import (
	"errors"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/marks"
	"github.com/persisting/persisting/engine/table"
)

// Ready calls do with the rows that have a value in each of some columns and that a task has not consumed: bits of 64 offsets, of
// which the first is given, in order, until do returns false. A column that there is not has no values. What do does is done while
// nothing is marked.
func (b *Bucket) Ready(task string, columns []string, do func(first int64, rows uint64) bool) error {
	if err := b.markable(task, nil); err != nil {
		return err
	}
	b.consumption.mu.Lock()
	defer b.consumption.mu.Unlock()
	return b.ready(task, columns, do)
}

// TakeReady marks the first rows that are ready, limit at most, and returns their offsets.
func (b *Bucket) TakeReady(task string, columns []string, limit int64) ([]int64, error) {
	if err := b.markable(task, nil); err != nil {
		return nil, err
	}
	offsets := []int64{}
	wait, err := func() (func() error, error) {
		b.consumption.mu.Lock()
		defer b.consumption.mu.Unlock()
		err := b.ready(task, columns, func(first int64, rows uint64) bool {
			for ; rows != 0 && int64(len(offsets)) < limit; rows &= rows - 1 {
				offsets = append(offsets, first+int64(bits.TrailingZeros64(rows)))
			}
			return int64(len(offsets)) < limit
		})
		if err != nil || len(offsets) == 0 {
			return func() error { return nil }, err
		}
		return b.consumption.append(marks.MarkRecord(task, marks.RangesOf(offsets)))
	}()
	if wait == nil {
		return nil, err
	}
	return offsets, b.consumption.acknowledgedMark(wait, err)
}

// ready is Ready for a caller that holds consumption.mu.
func (b *Bucket) ready(task string, columns []string, do func(first int64, rows uint64) bool) error {
	if err := b.ingest.catchUp(false); err != nil {
		return err
	}
	first, err := b.FirstFrom(0)
	if err != nil {
		return err
	}
	b.presence.mu.Lock()
	defer b.presence.mu.Unlock()
	end := b.rows.acknowledgedRows()
	sets, err := b.look(columns, end)
	if err != nil {
		return err
	}
	marked := b.consumption.marks.Of(task)
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
		if at < first {
			rows &= ^uint64(0) << (first - at)
		}
		if end-at < 64 {
			rows &= 1<<(end-at) - 1
		}
		if rows != 0 && !do(at, rows) {
			break
		}
	}
	return nil
}

// look returns the rows below end that have values in columns, of which there is one at least; presence.mu is held.
func (b *Bucket) look(columns []string, end int64) ([]*marks.Set, error) {
	if len(columns) == 0 {
		columns = []string{anyColumn}
	}
	p := &b.presence
	if changes := b.rows.changes.Load(); p.columns == nil || p.changes != changes {
		p.changes, p.columns = changes, map[string]*seen{}
	}
	schema, _ := b.Schema()
	sets := make([]*marks.Set, len(columns))
	for i, name := range columns {
		if name != anyColumn && (schema == nil || !schema.HasField(name)) {
			sets[i] = &marks.Set{}
			continue
		}
		column := p.columns[name]
		if column == nil {
			column = &seen{}
			p.columns[name] = column
		}
		if err := b.lookAtColumn(name, column, end); err != nil {
			return nil, err
		}
		sets[i] = &column.rows
	}
	return sets, nil
}

// lookAtColumn brings what is known of a column up to end.
func (b *Bucket) lookAtColumn(name string, column *seen, end int64) (err error) {
	if column.end >= end {
		return nil
	}
	if end-column.end > presenceRows {
		err = b.askForColumn(name, column)
	} else {
		err = b.readColumn(name, column, end)
	}
	if err == nil {
		column.end = end
	}
	return err
}

// readColumn looks at the rows as they are.
func (b *Bucket) readColumn(name string, column *seen, end int64) error {
	cursor, err := b.Read(column.end, end-column.end, false)
	if err != nil {
		return err
	}
	place := places{runs: cursor.Offsets()}
	err = eachBatch(cursor, func(rec arrow.Record) error {
		return note(rec, name, &column.rows, &place)
	})
	return errors.Join(err, cursor.Close())
}

// note puts the rows of a batch that have a value into a set.
func note(rec arrow.Record, name string, into *marks.Set, place *places) error {
	var values arrow.Array
	if at := rec.Schema().FieldIndices(name); len(at) > 0 {
		values = rec.Column(at[0])
	}
	for i := int64(0); i < rec.NumRows(); {
		first, end := place.next(rec.NumRows() - i)
		switch {
		case name == anyColumn || values != nil && values.NullN() == 0:
			into.Add(first, end)
		case values != nil:
			for offset := first; offset < end; offset++ {
				if values.IsValid(int(i + offset - first)) {
					into.Add(offset, offset+1)
				}
			}
		}
		i += end - first
	}
	return nil
}

// places are the offsets of rows that come in batches.
type places struct{ runs [][2]int64 }

// next returns those of the next rows that are in a run, count at most.
func (p *places) next(count int64) (first, end int64) {
	run := &p.runs[0]
	first = run[0]
	end = min(run[1], first+count)
	if run[0] = end; run[0] == run[1] {
		p.runs = p.runs[1:]
	}
	return first, end
}

// askForColumn asks the table for the rows that have a value.
func (b *Bucket) askForColumn(name string, column *seen) error {
	q := table.Query{Columns: []string{}, WithOffset: true}
	if name != anyColumn {
		q.Filter = "`" + strings.ReplaceAll(name, "`", "``") + "` IS NOT NULL"
	}
	if column.end > 0 {
		q.Filter = strings.TrimPrefix(q.Filter+" AND "+lance.OffsetColumn+" >= "+strconv.FormatInt(column.end, 10), " AND ")
	}
	cursor, err := b.Query(q, nil)
	if err != nil {
		return err
	}
	err = eachBatch(cursor, func(rec arrow.Record) error {
		offsets, is := rec.Column(0).(*array.Int64)
		if !is {
			return engine.ErrCorrupt
		}
		for _, r := range marks.RangesOf(offsets.Int64Values()) {
			column.rows.Add(r.First, r.End)
		}
		return nil
	})
	return errors.Join(err, cursor.Close())
}

// eachBatch calls do with each batch that is left of a cursor.
func eachBatch(cursor *table.Cursor, do func(arrow.Record) error) error {
	for {
		rec, err := cursor.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = do(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
}
