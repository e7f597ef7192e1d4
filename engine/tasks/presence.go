package tasks

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/marks"
	"github.com/persisting/persisting/engine/table"
)

// ReadRows is up to how many rows are read to see which columns they have. The columns of more are asked for alone, by a
// query, for which what is in memory is flushed.
const ReadRows = 1 << 16

// anyColumn stands for what each row has that is left.
const anyColumn = ""

// presence knows which rows have a value in which columns, of the columns that were asked about. It is derived from the rows, looks
// at each once, and is made anew where more than rows at the front were removed, or columns changed.
type presence struct {
	rows Rows

	mu      sync.Mutex // guards what follows
	changes uint64     // of the rows, when the columns were looked at
	columns map[string]*seen
}

// seen is a column: the rows that have a value, of those below end.
type seen struct {
	rows marks.Set
	end  int64
}

// remove takes rows out that were removed.
func (p *presence) remove(ranges []marks.Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, column := range p.columns {
		for _, r := range ranges {
			column.rows.Remove(r.First, r.End)
		}
	}
}

// look returns the rows below end that have values in columns, a set for each, or one of all rows where no column is asked for.
// The sets are the presence's own: the caller holds p.mu, and as long as it reads them.
func (p *presence) look(columns []string, end int64) ([]*marks.Set, error) {
	// Then every row that is left counts, which takes a set as well: removed rows are gaps.
	if len(columns) == 0 {
		columns = []string{anyColumn}
	}
	if changes := p.rows.Changes(); p.columns == nil || p.changes != changes {
		p.changes, p.columns = changes, map[string]*seen{}
	}
	schema, _ := p.rows.Schema()
	sets := make([]*marks.Set, len(columns))
	for i, name := range columns {
		if name != anyColumn && (schema == nil || !schema.HasField(name)) {
			sets[i] = &marks.Set{} // not kept: the column may come with the next row
			continue
		}
		column := p.columns[name]
		if column == nil {
			column = &seen{}
			p.columns[name] = column
		}
		if err := p.extend(name, column, end); err != nil {
			return nil, err
		}
		sets[i] = &column.rows
	}
	return sets, nil
}

// extend brings what is known of a column up to end.
func (p *presence) extend(name string, column *seen, end int64) (err error) {
	if column.end >= end {
		return nil
	}
	if end-column.end > ReadRows {
		err = p.ask(name, column)
	} else {
		err = p.read(name, column, end)
	}
	if err == nil {
		column.end = end
	}
	return err
}

// read looks at the rows as they are.
func (p *presence) read(name string, column *seen, end int64) error {
	cursor, err := p.rows.Read(column.end, end-column.end, false)
	if err != nil {
		return err
	}
	// Rows that were removed have no place in the batches, so a row's offset is not its place among
	// them.
	place := places{runs: cursor.Offsets()}
	err = eachBatch(cursor, func(rec arrow.Record) error {
		note(rec, name, &column.rows, &place)
		return nil
	})
	return errors.Join(err, cursor.Close())
}

// ask asks the table for the rows that have a value. An answer may have rows behind the end that was asked for, which came
// meanwhile: they are in the set already when the next look begins at that end.
func (p *presence) ask(name string, column *seen) error {
	// No column but the offsets: the filter reads the one that matters, and an index of it answers
	// without that.
	q := table.Query{Columns: []string{}, WithOffset: true}
	if name != anyColumn {
		q.Filter = "`" + strings.ReplaceAll(name, "`", "``") + "` IS NOT NULL"
	}
	if column.end > 0 {
		q.Filter = strings.TrimPrefix(q.Filter+" AND "+lance.OffsetColumn+" >= "+strconv.FormatInt(column.end, 10), " AND ")
	}
	cursor, err := p.rows.Query(q, nil)
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

// note puts the rows of a batch that have a value into a set.
func note(rec arrow.Record, name string, into *marks.Set, place *places) {
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
}

// places are the offsets of rows that come in batches: a batch may have rows of several runs, and a run come in several batches.
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
