package bucket

import (
	"fmt"
	"time"

	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/metrics"
)

// Get is [Bucket.ReadRun] without waiting, of few rows: those of several records are
// copied into one.
func (b *Bucket) Get(offset, count int64) (Rows, error) {
	began := time.Now()
	if offset < 0 || count < 0 || b.ingest.catchUp(true) != nil {
		return b.getRun(offset, count)
	}
	// What lies in one record is lent as it is: no view, no pin, no copy. This is the way of a
	// random get.
	rows, err := b.rows.atHand(offset, count)
	if err != nil || rows.Record == nil {
		return b.getRun(offset, count)
	}
	b.metrics.GetDone(rows.To-rows.From, time.Since(began))
	rows.count(b)
	return rows, nil
}

func (b *Bucket) getRun(offset, count int64) (Rows, error) {
	p, err := b.read(offset, count, true, (*view).left)
	b.failed(metrics.Get, err)
	if err != nil {
		return Rows{}, err
	}
	// None of them has a reader behind it: without waiting there is none.
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
