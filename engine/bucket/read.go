package bucket

import (
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tail"
	"github.com/persisting/persisting/metrics"
)

// Read returns the acknowledged rows [offset, offset+count), cut to those that
// exist, without those that were removed. With noWait the error is [ErrWouldBlock]
// where the disk is needed.
func (b *Bucket) Read(offset, count int64, noWait bool) (*table.Cursor, error) {
	return b.readCounted(offset, count, noWait, (*view).whole)
}

// ReadRun is Read up to the first row that was removed: row i of it has the offset
// offset+i. It fails with a [*RemovedError] when the row at offset was removed.
func (b *Bucket) ReadRun(offset, count int64, noWait bool) (*table.Cursor, error) {
	return b.readCounted(offset, count, noWait, (*view).left)
}

func (b *Bucket) readCounted(offset, count int64, noWait bool, narrow func(*view) error) (*table.Cursor, error) {
	p, err := b.read(offset, count, noWait, narrow)
	b.failed(metrics.Get, err)
	if err != nil {
		return nil, err
	}
	return table.NewCursor(p), nil
}

// read finds the rows of a read.
func (b *Bucket) read(offset, count int64, noWait bool, narrow func(*view) error) (p table.Parts, err error) {
	began := time.Now()
	if offset < 0 || count < 0 {
		return p, fmt.Errorf("%w: offset %d and count %d must not be negative", engine.ErrNotFound, offset, count)
	}
	if err := b.ingest.catchUp(noWait); err != nil {
		return p, err
	}
	v, err := b.rows.view(offset, count)
	if err != nil {
		return p, err
	}
	defer func() { tail.Release(v.chunks) }()
	p = table.Parts{Schema: v.schema, Version: v.version, Count: b.countRead()}
	err = narrow(v)
	if err == nil {
		p.Offsets, err = v.runs()
	}
	if err == nil {
		err = b.rows.readTable(&p, v, noWait)
	}
	// What is in hand needs the version no longer; a reader lets go of it at its end.
	if p.Reader == nil {
		v.unpin()
	}
	var recs []arrow.Record
	if err == nil {
		recs, err = b.rows.join(v)
	}
	if err != nil {
		return table.Parts{}, errors.Join(err, table.NewCursor(p).Close())
	}
	p.Batches = append(p.Batches, recs...)
	var rows int64
	for _, r := range p.Offsets {
		rows += r[1] - r[0]
	}
	b.metrics.GetDone(rows, time.Since(began))
	return p, nil
}

// Take returns the rows at the given offsets, in the order given. An offset
// that does not exist gives [ErrNotFound]; with noWait the error is
// [ErrWouldBlock] where the disk is needed.
func (b *Bucket) Take(offsets []int64, noWait bool) (*table.Cursor, error) {
	c, err := b.takeRows(offsets, noWait)
	b.failed(metrics.Get, err)
	return c, err
}

func (b *Bucket) takeRows(offsets []int64, noWait bool) (*table.Cursor, error) {
	began := time.Now()
	if err := b.ingest.catchUp(noWait); err != nil {
		return nil, err
	}
	v, err := b.rows.view(0, b.rows.acknowledgedRows())
	if err != nil {
		return nil, err
	}
	defer v.unpin()
	defer tail.Release(v.chunks)
	p := table.Parts{Schema: v.schema, Version: v.version, Count: b.countRead()}
	if p.Batches, err = v.take(offsets, noWait); err != nil {
		return nil, err
	}
	b.metrics.GetDone(int64(len(offsets)), time.Since(began))
	return table.NewCursor(p), nil
}
