package bucket

import (
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
)

// Rows are the rows [From, To) of a record.
type Rows struct {
	Record   arrow.Record // the caller releases it; nil when there are no rows
	From, To int64
	Version  uint64 // of the record's schema
}

// Get is [Bucket.ReadRun] without waiting, of few rows: those of several records are
// copied into one.
func (b *Bucket) Get(offset, count int64) (Rows, error) {
	began := time.Now()
	if offset < 0 || count < 0 || b.ingest.catchUp(true) != nil {
		return b.getRun(offset, count)
	}
	rows, err := b.rows.atHand(offset, count)
	if err != nil || rows.Record == nil {
		return b.getRun(offset, count)
	}
	b.metrics.GetDone(rows.To-rows.From, time.Since(began))
	rows.count(b)
	return rows, nil
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
	if offset >= rs.tail.begin() {
		i := rs.tail.find(offset)
		if err := rs.tail.unpack(i); err != nil {
			return Rows{}, err
		}
		if c := rs.tail.chunks[i]; end <= c.end && c.rec.Schema() == rs.schema {
			c.rec.Retain()
			rows.Record, rows.From, rows.To = c.rec, offset-c.first, end-c.first
		}
		return rows, nil
	}
	if end > rs.tail.begin() {
		return rows, nil
	}
	newest := rs.table.Newest()
	defer newest.Release()
	if newest.Rows() == newest.NextRowID() {
		sight := table.Sight{Snapshot: newest, Number: rs.schemaVersion}
		rows.Record, rows.From, rows.To = rs.pages.AtHand(sight, offset, end)
	}
	return rows, nil
}

func (b *Bucket) getRun(offset, count int64) (Rows, error) {
	p, err := b.read(offset, count, true, (*view).left)
	b.failed(metrics.Get, err)
	if err != nil {
		return Rows{}, err
	}
	defer batch.ReleaseAll(p.Batches)
	rows := Rows{Version: p.Version}
	if len(p.Batches) == 0 {
		return rows, nil
	}
	if rows.Record, err = batch.Concat(p.Schema, p.Batches); err != nil {
		return Rows{}, fmt.Errorf("engine: join batches: %w", err)
	}
	rows.To = rows.Record.NumRows()
	rows.count(b)
	return rows, nil
}

// count counts the bytes of the rows as read.
func (r Rows) count(b *Bucket) {
	if b.metrics != nil {
		b.metrics.ReadBytes(batch.RangeBytes(r.Record, r.From, r.To))
	}
}
