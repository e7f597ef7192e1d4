package bucket

import (
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
)

// Reads that meet more than manyChunks batches of fewer than smallChunk rows
// each join them, in memory as well.
const (
	manyChunks = 8
	smallChunk = 256
)

// view is the part of a bucket that one read sees.
type view struct {
	schema     *arrow.Schema
	version    uint64
	snapshot   *lance.Snapshot // pinned; nil when no row comes from the table
	unpin      func()          // lets go of snapshot
	first, end int64           // the rows of the read
	visible    int64           // the rows of the bucket
	memory     int64           // those from here on are in chunks
	chunks     []chunk
}

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
	defer func() { release(v.chunks) }()
	p = table.Parts{Schema: v.schema, Version: v.version, Count: b.countRead()}
	err = narrow(v)
	if err == nil {
		p.Offsets, err = v.runs()
	}
	if err == nil {
		err = b.rows.readTable(&p, v, noWait)
	}
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

// countRead is what counts the bytes that are read, nil where metrics are off.
func (c *core) countRead() func(bytes int64) {
	if c.metrics == nil {
		return nil
	}
	return c.metrics.ReadBytes
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
	v.memory = min(max(rs.tail.begin(), v.first), v.end)
	var err error
	if v.chunks, err = rs.tail.slice(v.memory, v.end); err != nil {
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
	p.Reader, p.Unpin = reader, v.unpin
	return nil
}

// pageRoom is how many bytes of pages of the table may be kept: what the rows in memory leave of the cache, and half of it at least.
func (rs *rows) pageRoom() int64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return max(rs.opts.CacheBytes/2, rs.opts.CacheBytes-rs.tail.bytes)
}

// join gives the batches in memory the columns of the view, and makes few of
// many small ones, for this read and for those to come.
func (rs *rows) join(v *view) ([]arrow.Record, error) {
	n, rows := int64(len(v.chunks)), v.end-v.memory
	if n <= manyChunks || rows/n >= smallChunk {
		return alignAll(v.chunks, v.schema)
	}
	chunks := v.chunks
	v.chunks = nil
	return rs.coalesce(v.schema, chunks, rows)
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
	defer release(v.chunks)
	p := table.Parts{Schema: v.schema, Version: v.version, Count: b.countRead()}
	if p.Batches, err = v.take(offsets, noWait); err != nil {
		return nil, err
	}
	b.metrics.GetDone(int64(len(offsets)), time.Since(began))
	return table.NewCursor(p), nil
}

// take returns the rows at offsets, in one batch; none where there are no offsets.
func (v *view) take(offsets []int64, noWait bool) ([]arrow.Record, error) {
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
	memory := tail{chunks: v.chunks, next: v.end}
	var taken int64
	for i := 0; i < len(offsets); {
		j, o := i, offsets[i]
		if o < v.memory {
			for j < len(offsets) && offsets[j] < v.memory {
				j++
			}
			parts = append(parts, stored.NewSlice(taken, taken+int64(j-i)))
			taken += int64(j - i)
		} else {
			for j < len(offsets) && offsets[j] == o+int64(j-i) {
				j++
			}
			slices, err := memory.slice(o, o+int64(j-i))
			if err != nil {
				return parts, err
			}
			for _, k := range slices {
				rec, err := batch.Align(k.rec, v.schema)
				k.rec.Release()
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
