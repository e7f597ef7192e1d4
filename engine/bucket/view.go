package bucket

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tail"
)

// Rows are the rows [From, To) of a record.
type Rows struct {
	Record   arrow.Record // the caller releases it; nil when there are no rows
	From, To int64
	Version  uint64 // of the record's schema
}

// atHand finds rows that are in one record in memory, with the bucket's columns; no
// record when they are not, or some may have been removed.
func (rs *rows) atHand(offset, count int64) (Rows, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	end := offset + min(count, rs.visible()-offset)
	if rs.closed || offset >= end {
		return Rows{}, nil
	}
	rows := Rows{Version: rs.schemaVersion}
	if offset >= rs.tail.Begin() {
		c, err := rs.tail.At(offset)
		if err != nil {
			return Rows{}, err
		}
		if end <= c.End && c.Record.Schema() == rs.schema {
			c.Record.Retain()
			rows.Record, rows.From, rows.To = c.Record, offset-c.First, end-c.First
		}
		return rows, nil
	}
	// Some in memory and some in the table would be two records.
	if end > rs.tail.Begin() {
		return rows, nil
	}
	newest := rs.table.Newest()
	defer newest.Release()
	// Where any row was removed it is not looked up which: the way with a view does that, and says
	// so.
	if newest.Rows() == newest.NextRowID() {
		sight := table.Sight{Snapshot: newest, Number: rs.schemaVersion}
		rows.Record, rows.From, rows.To = rs.pages.AtHand(sight, offset, end)
	}
	return rows, nil
}

// left narrows a view to the rows at its start that have no removed row before
// them, or says that its first row was removed.
func (v *view) left() error {
	if v.snapshot == nil || v.first >= v.memory {
		return nil
	}
	end, err := table.Left(v.snapshot, v.first, v.memory, v.visible)
	if err != nil {
		return err
	}
	if end < v.memory {
		v.end, v.memory = end, end
		tail.Release(v.chunks)
		v.chunks = nil
	}
	return nil
}

// runs lists the offsets of the rows of a view.
func (v *view) runs() ([]table.Run, error) {
	runs, err := table.Runs(v.snapshot, v.first, v.memory)
	return table.AddRun(runs, v.memory, v.end), err
}

// view is the part of a bucket that one read sees.
type view struct {
	schema     *arrow.Schema
	version    uint64
	snapshot   *lance.Snapshot // pinned; nil when no row comes from the table
	unpin      func()          // lets go of snapshot
	first, end int64           // the rows of the read
	visible    int64           // the rows of the bucket
	memory     int64           // those from here on are in chunks
	chunks     []tail.Chunk
}

// view takes a snapshot of the rows [offset, offset+count).
func (rs *rows) view(offset, count int64) (*view, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return nil, engine.ErrClosed
	}
	visible := rs.visible()
	v := &view{schema: rs.schema, version: rs.schemaVersion, visible: visible, unpin: func() {}}
	v.first = min(offset, visible)
	v.end = v.first + min(count, visible-v.first)
	// From the oldest row in memory on all are there, so that the version is needed for what lies below alone.
	v.memory = min(max(rs.tail.Begin(), v.first), v.end)
	var err error
	if v.chunks, err = rs.tail.Slice(v.memory, v.end); err != nil {
		return nil, err
	}
	if v.first < v.memory {
		v.snapshot = rs.table.Newest()
		v.unpin = v.snapshot.Release
	}
	return v, nil
}

// whole leaves a view as it is.
func (*view) whole() error { return nil }

// sight is what the view sees of the table.
func (v *view) sight() table.Sight {
	return table.Sight{Snapshot: v.snapshot, Schema: v.schema, Number: v.version}
}

// readTable gives p the rows of v that are not in memory.
func (rs *rows) readTable(p *table.Parts, v *view, noWait bool) error {
	if v.snapshot == nil {
		return nil
	}
	recs, ok, err := rs.pages.Read(v.sight(), v.first, v.memory, noWait)
	p.Batches = recs
	if ok {
		rs.locked(rs.account)
		return err
	}
	if noWait {
		return engine.ErrWouldBlock
	}
	reader, err := v.snapshot.Read(v.first, v.memory-v.first, nil, table.StreamRows)
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	// The reader goes on after the call, so the version is let go of at the end of the cursor.
	p.Reader, p.Unpin = reader, v.unpin
	return nil
}

// join gives the batches in memory the columns of the view, and makes few of
// many small ones, for this read and for those to come.
func (rs *rows) join(v *view) ([]arrow.Record, error) {
	// Many small batches would cost their reader more, each time, than to join them costs once.
	n, rows := int64(len(v.chunks)), v.end-v.memory
	if n <= manyChunks || rows/n >= smallChunk {
		return tail.Align(v.chunks, v.schema)
	}
	chunks := v.chunks
	v.chunks = nil
	return rs.coalesce(v.schema, chunks, rows)
}

// take returns the rows at offsets, in one batch; none where there are no offsets.
func (v *view) take(offsets []int64, noWait bool) ([]arrow.Record, error) {
	// Those of the table in one question, whatever their order: Lance reads each page once then.
	var ids []int64
	for _, o := range offsets {
		if o < 0 || o >= v.end {
			return nil, fmt.Errorf("%w: offset %d, the bucket has the offsets 0 to %d", engine.ErrNotFound, o, v.end-1)
		}
		if o < v.memory {
			ids = append(ids, o)
		}
	}
	var stored arrow.Record
	if len(ids) > 0 {
		var err error
		// In the order asked for, repeats included, which inOrder goes by.
		if stored, err = v.sight().Take(ids, v.visible, noWait); err != nil {
			return nil, err
		}
		defer stored.Release()
	}
	parts, err := v.inOrder(offsets, stored)
	defer func() { batch.ReleaseAll(parts) }()
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	joined, err := batch.Concat(v.schema, parts)
	if err != nil {
		return nil, fmt.Errorf("engine: join batches: %w", err)
	}
	return []arrow.Record{joined}, nil
}

// inOrder returns the rows at offsets, of which those in the table are in stored, in the order of the offsets; the caller releases
// what is returned, with an error as well.
func (v *view) inOrder(offsets []int64, stored arrow.Record) (parts []arrow.Record, err error) {
	memory := tail.Of(v.chunks, v.end)
	var taken int64
	for i := 0; i < len(offsets); {
		j, o := i, offsets[i]
		if o < v.memory {
			// The table gave its rows in the order asked for, so a run of them is a slice of what
			// it gave, whatever the offsets.
			for j < len(offsets) && offsets[j] < v.memory {
				j++
			}
			parts = append(parts, stored.NewSlice(taken, taken+int64(j-i)))
			taken += int64(j - i)
		} else {
			// In memory only neighbours are one slice.
			for j < len(offsets) && offsets[j] == o+int64(j-i) {
				j++
			}
			slices, err := memory.Slice(o, o+int64(j-i))
			if err != nil {
				return parts, err
			}
			for _, k := range slices {
				rec, err := batch.Align(k.Record, v.schema)
				k.Record.Release()
				if err != nil {
					return parts, err
				}
				parts = append(parts, rec)
			}
		}
		i = j
	}
	return parts, nil
}

// coalesce joins small chunks for who writes or reads them, see [tail.Coalesce]. The tail gets what is joined as well, unless the
// bucket was closed meanwhile and has given its rows back.
func (rs *rows) coalesce(schema *arrow.Schema, chunks []tail.Chunk, rows int64) ([]arrow.Record, error) {
	return tail.Coalesce(schema, chunks, rows, func(parts []tail.Chunk, joined []arrow.Record) {
		rs.locked(func() {
			if !rs.closed {
				rs.tail.Replace(parts, joined...)
			}
		})
	})
}

// Reads that meet more than manyChunks batches of fewer than smallChunk rows
// each join them, in memory as well.
const (
	manyChunks = 8
	smallChunk = 256
)
