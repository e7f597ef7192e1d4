package bucket

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
)

const (
	// pagedReads is the number of pages up to which a read goes through the page
	// cache; longer ones stream past it.
	pagedReads = 4

	// nowPages and nowRows bound what a read or a take that must not wait decodes on
	// its caller's thread, where no disk is needed.
	nowPages = 2
	nowRows  = 8

	// Reads that meet more than manyChunks batches of fewer than smallChunk rows
	// each join them, in memory as well.
	manyChunks = 8
	smallChunk = 256

	// streamRows is the number of rows of a batch that is read from the table.
	streamRows = 8192
)

// Cursor gives the rows of one read, batch by batch.
type Cursor struct {
	schema  *arrow.Schema
	version uint64          // of the schema
	metrics *metrics.Bucket // that count what is read

	mu      sync.Mutex
	closed  bool
	reader  *lance.Reader     // rows that come from the table first, may be nil
	unpin   func()            // at the end of reader
	fault   func(error) error // gives an error of reader its class; may be nil
	batches []arrow.Record    // and then these
	offsets []run             // of all rows; nil for rows that were taken
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
	chunks     []chunk
}

// Read returns the acknowledged rows [offset, offset+count), cut to those that
// exist, without those that were removed. With noWait the error is [ErrWouldBlock]
// where the disk is needed.
func (b *Bucket) Read(offset, count int64, noWait bool) (*Cursor, error) {
	return b.readCounted(offset, count, noWait, (*view).whole)
}

// ReadRun is Read up to the first row that was removed: row i of it has the offset
// offset+i. It fails with a [*RemovedError] when the row at offset was removed.
func (b *Bucket) ReadRun(offset, count int64, noWait bool) (*Cursor, error) {
	return b.readCounted(offset, count, noWait, (*view).left)
}

func (b *Bucket) readCounted(offset, count int64, noWait bool, narrow func(*view) error) (*Cursor, error) {
	c, err := b.read(offset, count, noWait, narrow)
	b.failed(metrics.Get, err)
	return c, err
}

func (b *Bucket) read(offset, count int64, noWait bool, narrow func(*view) error) (*Cursor, error) {
	began := time.Now()
	if offset < 0 || count < 0 {
		return nil, fmt.Errorf("%w: offset %d and count %d must not be negative", engine.ErrNotFound, offset, count)
	}
	if err := b.catchUp(noWait); err != nil {
		return nil, err
	}
	v, err := b.view(offset, count)
	if err != nil {
		return nil, err
	}
	defer func() { release(v.chunks) }()
	c := &Cursor{schema: v.schema, version: v.version, metrics: b.metrics}
	err = narrow(v)
	if err == nil {
		c.offsets, err = v.runs()
	}
	if err == nil {
		err = b.readTable(c, v, noWait)
	}
	if c.reader == nil {
		v.unpin()
	}
	var recs []arrow.Record
	if err == nil {
		recs, err = b.join(v)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.batches = append(c.batches, recs...)
	var rows int64
	for _, r := range c.offsets {
		rows += r[1] - r[0]
	}
	b.metrics.GetDone(rows, time.Since(began))
	return c, nil
}

// view takes a snapshot of the rows [offset, offset+count).
func (b *Bucket) view(offset, count int64) (*view, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, engine.ErrClosed
	}
	visible := b.visible()
	v := &view{schema: b.schema, version: b.schemaVersion, visible: visible, unpin: func() {}}
	v.first = min(offset, visible)
	v.end = v.first + min(count, visible-v.first)
	v.memory = min(max(b.tail.begin(), v.first), v.end)
	var err error
	if v.chunks, err = b.tail.slice(v.memory, v.end); err != nil {
		return nil, err
	}
	if v.first < v.memory {
		v.snapshot = b.snapshot
		v.snapshot.Retain()
		v.unpin = v.snapshot.Release
	}
	return v, nil
}

// whole leaves a view as it is.
func (*view) whole() error { return nil }

// readTable gives c the rows of v that are not in memory.
func (b *Bucket) readTable(c *Cursor, v *view, noWait bool) error {
	if v.snapshot == nil {
		return nil
	}
	rows := pageRows(v.snapshot)
	if v.memory-v.first <= pagedReads*rows {
		return b.readPages(c, v, rows, noWait)
	}
	if noWait {
		return engine.ErrWouldBlock
	}
	reader, err := v.snapshot.Read(v.first, v.memory-v.first, nil, streamRows)
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	c.reader, c.unpin = reader, v.unpin
	return nil
}

// readPages gives c the rows [v.first, v.memory) by way of the page cache.
func (b *Bucket) readPages(c *Cursor, v *view, rows int64, noWait bool) error {
	pages := (v.memory+rows-1)/rows - v.first/rows
	for n := v.first / rows; n*rows < v.memory; n++ {
		start := n * rows
		from, to, err := places(v.snapshot, start, max(v.first, start), min(v.memory, start+rows))
		if err != nil {
			return err
		}
		if from == to {
			continue
		}
		key := pageKey{schema: v.version, rows: rows, number: n}
		rec := b.cachedPage(key, to)
		if rec == nil {
			if noWait && pages > nowPages {
				return engine.ErrWouldBlock
			}
			rec, err = b.page(v, key, to, noWait)
		}
		if err != nil {
			return err
		}
		c.batches = append(c.batches, rec.NewSlice(from, to))
		rec.Release()
	}
	return nil
}

// places counts the rows that are left from offset start to first and to end.
func places(s *lance.Snapshot, start, first, end int64) (from, to int64, err error) {
	base, _, _, err := s.Place(start)
	if err == nil {
		from, _, _, err = s.Place(first)
	}
	if err == nil {
		to, _, _, err = s.Place(end)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("engine: look for removed rows: %w", err)
	}
	return from - base, to - base, nil
}

// cachedPage returns a page with at least its first want rows, which the caller
// releases, if the page cache has it.
func (b *Bucket) cachedPage(key pageKey, want int64) arrow.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages.get(key, want)
}

// page reads a page, with at least its first want rows; the caller releases it.
func (b *Bucket) page(v *view, key pageKey, want int64, noWait bool) (arrow.Record, error) {
	rec, err := readAll(v, key.number*key.rows, key.rows, noWait)
	if err != nil {
		return nil, err
	}
	if rec.NumRows() < want {
		rec.Release()
		return nil, fmt.Errorf("%w: the table has %d of the %d rows from offset %d", engine.ErrCorrupt, rec.NumRows(), want, key.number*key.rows)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.pages.put(key, rec, max(b.opts.CacheBytes/2, b.opts.CacheBytes-b.tail.bytes))
		b.account()
	}
	return rec, nil
}

// readAll reads rows of the table into one batch with the columns of v.
func readAll(v *view, first, count int64, noWait bool) (arrow.Record, error) {
	var reader *lance.Reader
	var err error
	if noWait {
		reader, err = v.snapshot.ReadNow(first, count)
	} else {
		reader, err = v.snapshot.Read(first, count, nil, int(count))
	}
	if errors.Is(err, lance.ErrWouldBlock) {
		return nil, engine.ErrWouldBlock
	}
	if err != nil {
		return nil, fmt.Errorf("engine: read table: %w", err)
	}
	defer reader.Close()
	var parts []arrow.Record
	defer func() { batch.ReleaseAll(parts) }()
	for {
		rec, err := nextAligned(reader, v.schema)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, rec)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: the table has no rows from offset %d on", engine.ErrCorrupt, first)
	}
	return batch.Concat(v.schema, parts)
}

func nextAligned(r *lance.Reader, schema *arrow.Schema) (arrow.Record, error) {
	rec, err := r.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("engine: read table: %w", err)
		}
		return nil, err
	}
	defer rec.Release()
	return batch.Align(rec, schema)
}

// join gives the batches in memory the columns of the view, and makes few of
// many small ones, for this read and for those to come.
func (b *Bucket) join(v *view) ([]arrow.Record, error) {
	n, rows := int64(len(v.chunks)), v.end-v.memory
	if n <= manyChunks || rows/n >= smallChunk {
		return alignAll(v.chunks, v.schema)
	}
	chunks := v.chunks
	v.chunks = nil
	return b.coalesce(v.schema, chunks, rows)
}

// Take returns the rows at the given offsets, in the order given. An offset
// that does not exist gives [ErrNotFound]; with noWait the error is
// [ErrWouldBlock] where the disk is needed.
func (b *Bucket) Take(offsets []int64, noWait bool) (*Cursor, error) {
	c, err := b.takeRows(offsets, noWait)
	b.failed(metrics.Get, err)
	return c, err
}

func (b *Bucket) takeRows(offsets []int64, noWait bool) (*Cursor, error) {
	began := time.Now()
	if err := b.catchUp(noWait); err != nil {
		return nil, err
	}
	v, err := b.view(0, b.acknowledgedRows())
	if err != nil {
		return nil, err
	}
	defer v.unpin()
	defer release(v.chunks)
	c := &Cursor{schema: v.schema, version: v.version, metrics: b.metrics}
	if err := b.take(c, v, offsets, noWait); err != nil {
		return nil, err
	}
	b.metrics.GetDone(int64(len(offsets)), time.Since(began))
	return c, nil
}

func (b *Bucket) take(c *Cursor, v *view, offsets []int64, noWait bool) error {
	var ids []int64
	for _, o := range offsets {
		if o < 0 || o >= v.end {
			return fmt.Errorf("%w: offset %d, the bucket has the offsets 0 to %d", engine.ErrNotFound, o, v.end-1)
		}
		if o < v.memory {
			ids = append(ids, o)
		}
	}
	var parts []arrow.Record
	defer func() { batch.ReleaseAll(parts) }()
	var stored arrow.Record
	if len(ids) > 0 {
		rec, err := v.takeStored(ids, noWait)
		if errors.Is(err, lance.ErrRowNotFound) {
			return v.removed(ids)
		}
		if errors.Is(err, lance.ErrWouldBlock) {
			return engine.ErrWouldBlock
		}
		if err != nil {
			return fmt.Errorf("engine: take from table: %w", err)
		}
		stored, err = batch.Align(rec, v.schema)
		rec.Release()
		if err != nil {
			return err
		}
		defer stored.Release()
	}
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
				return err
			}
			for _, k := range slices {
				rec, err := batch.Align(k.rec, v.schema)
				k.rec.Release()
				if err != nil {
					return err
				}
				parts = append(parts, rec)
			}
		}
		i = j
	}
	if len(parts) == 0 {
		return nil
	}
	joined, err := batch.Concat(v.schema, parts)
	if err != nil {
		return fmt.Errorf("engine: join batches: %w", err)
	}
	c.batches = []arrow.Record{joined}
	return nil
}

func (v *view) takeStored(ids []int64, noWait bool) (arrow.Record, error) {
	switch {
	case !noWait:
		return v.snapshot.Take(ids, nil)
	case len(ids) <= nowRows:
		return v.snapshot.TakeNow(ids)
	}
	return nil, lance.ErrWouldBlock
}

// Schema returns the columns of all batches of the cursor, nil when the bucket
// had none, and the version of that schema.
func (c *Cursor) Schema() (*arrow.Schema, uint64) { return c.schema, c.version }

// Offsets returns the offsets of the rows of all batches of a read, in their order,
// as runs [first, end).
func (c *Cursor) Offsets() [][2]int64 { return c.offsets }

// Next returns the next batch, which the caller releases, and io.EOF at the end.
func (c *Cursor) Next() (arrow.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec, err := c.next()
	if err == nil && c.metrics != nil {
		c.metrics.ReadBytes(batch.RowBytes(rec))
	}
	return rec, err
}

func (c *Cursor) next() (arrow.Record, error) {
	if c.closed {
		return nil, engine.ErrClosed
	}
	if c.reader != nil {
		rec, err := nextAligned(c.reader, c.schema)
		if err != nil && c.fault != nil && !errors.Is(err, io.EOF) {
			err = c.fault(err)
		}
		if !errors.Is(err, io.EOF) {
			return rec, err
		}
		if err := c.endReader(); err != nil {
			return nil, err
		}
	}
	if len(c.batches) == 0 {
		return nil, io.EOF
	}
	rec := c.batches[0]
	c.batches = c.batches[1:]
	return rec, nil
}

func (c *Cursor) endReader() error {
	err := c.reader.Close()
	c.reader = nil
	c.unpin()
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	return nil
}

// Close ends the read.
func (c *Cursor) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return engine.ErrClosed
	}
	c.closed = true
	batch.ReleaseAll(c.batches)
	c.batches = nil
	if c.reader != nil {
		return c.endReader()
	}
	return nil
}
