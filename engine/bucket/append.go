package bucket

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
)

// Append gives the rows of rec the next offsets and returns the first of them
// and the one after the last. The rows are acknowledged once [Bucket.Wait] of
// that end returns nil. The bucket keeps references to the columns of rec.
//
// With noWait, where the bucket has to flush or to change the schema first,
// nothing is stored and the error is [ErrWouldBlock]. A batch that does not fit
// gives a [*SchemaError], and nothing of it is stored.
func (b *Bucket) Append(rec arrow.Record, noWait bool) (first, end int64, err error) {
	if err := checkValues(rec); err != nil {
		b.failed(metrics.Put, err)
		return 0, 0, err
	}
	return b.AppendChecked(rec, noWait)
}

// AppendChecked is Append for a batch that [Bucket.Check] found nothing wrong with.
func (b *Bucket) AppendChecked(rec arrow.Record, noWait bool) (first, end int64, err error) {
	defer func() { b.failed(metrics.Put, err) }()
	if err := b.admit(noWait); err != nil {
		return 0, 0, err
	}
	defer b.appending.Unlock()
	return b.append(rec, nil, noWait)
}

// Check gives the [*SchemaError] that Append would give, and stores nothing: who has
// several batches to append, all of them or none, asks for each of them first.
func (b *Bucket) Check(rec arrow.Record, noWait bool) (err error) {
	defer func() { b.failed(metrics.Put, err) }()
	if err := checkValues(rec); err != nil {
		return err
	}
	if err := b.tryAppends(noWait); err != nil {
		return err
	}
	defer b.appending.Unlock()
	c, err := batch.Unify(b.schema, rec.Schema())
	if err == nil {
		err = b.checkDeclared(rec, c)
	}
	if err == nil {
		err = b.checkRequired(rec)
	}
	return err
}

func checkValues(rec arrow.Record) error {
	if err := lance.CheckValues(rec); err != nil {
		return &engine.SchemaError{Reason: err.Error()}
	}
	return nil
}

// AppendMessage is Append for the rows of a record batch message of the Arrow IPC
// stream format, with the columns of schema and without compression. The message
// is copied.
func (b *Bucket) AppendMessage(schema *batch.MessageSchema, message []byte, noWait bool) (first, end int64, err error) {
	defer func() { b.failed(metrics.Put, err) }()
	if err := b.admit(noWait); err != nil {
		return 0, 0, err
	}
	defer b.appending.Unlock()
	rows, err := schema.Check(message)
	if err != nil {
		return 0, 0, err
	}
	if rows > 0 && len(message) < packedBytes && b.fit(schema.Schema) && !b.requires() && !schema.Strict {
		return b.pack(schema, message, rows)
	}
	rec, body, err := schema.Copy(message)
	if err != nil {
		return 0, 0, err
	}
	defer rec.Release()
	if schema.Strict {
		if err := checkValues(rec); err != nil {
			return 0, 0, err
		}
	}
	return b.append(rec, body, noWait)
}

// admit takes b.appending for an append, unless the bucket takes none now.
func (b *Bucket) admit(noWait bool) error {
	if err := b.tryAppends(noWait); err != nil {
		return err
	}
	admitted := false
	defer func() {
		if !admitted {
			b.appending.Unlock()
		}
	}()
	err := b.writable()
	if err == nil {
		err = b.makeRoom(noWait)
	}
	if r := b.ring.Load(); r != nil && err == nil {
		r.Hold(false)
	}
	admitted = err == nil
	return err
}

// append gives rec the columns of the bucket and stores it. Body is what the log
// would get for rec as it is, nil if that is not known. The caller holds
// b.appending.
func (b *Bucket) append(rec arrow.Record, body [][]byte, noWait bool) (first, end int64, err error) {
	if rec.NumRows() == 0 {
		n := b.tail.next
		return n, n, nil
	}
	aligned, err := b.conform(rec, noWait)
	if err != nil {
		return 0, 0, err
	}
	if err := b.checkRequired(aligned); err != nil {
		aligned.Release()
		return 0, 0, err
	}
	if !b.fit(rec.Schema()) {
		body = nil
	}
	return b.store(aligned, body)
}

// store appends an aligned batch, whose reference it takes over, to the tail
// and, as body if that is not nil, to the log.
func (b *Bucket) store(rec arrow.Record, body [][]byte) (first, end int64, err error) {
	err = b.useSchema(rec.Schema())
	if err == nil && body == nil && b.log != nil {
		body, err = b.encoder.Encode(rec)
	}
	if err != nil {
		rec.Release()
		return 0, 0, err
	}
	var put counted
	b.locked(func() {
		first, end = b.tail.next, b.tail.next+rec.NumRows()
		put = b.count(b.push(rec))
	})
	rec.Retain() // the body may point into it
	return first, end, b.commit(first, end, body, put, rec.Release)
}

// pack appends a message that has the columns of the bucket.
func (b *Bucket) pack(columns *batch.MessageSchema, message []byte, rows int64) (first, end int64, err error) {
	if err := b.useSchema(b.schema); err != nil {
		return 0, 0, err
	}
	var full bool
	var put counted
	b.locked(func() {
		first, end = b.tail.next, b.tail.next+rows
		full = b.tail.pack(columns, b.schema, message, rows)
		b.grew(int64(len(message)))
		put = b.count(int64(len(message)))
	})
	err = b.commit(first, end, [][]byte{message}, put, func() {})
	if full {
		signal(b.packed)
	}
	return first, end, err
}

// useSchema has the encoder of the log be one for batches of schema.
func (b *Bucket) useSchema(schema *arrow.Schema) (err error) {
	if b.log != nil && (b.encoder == nil || b.encoder.Schema != schema) {
		b.encoder, err = batch.NewEncoder(schema)
	}
	return err
}

// commit logs the rows [first, end), which are the newest of the tail, and calls
// release when the body is written or failed to be. After an error the rows are
// not there.
func (b *Bucket) commit(first, end int64, body [][]byte, put counted, release func()) error {
	if b.log == nil {
		release()
		b.acknowledged(put.began)
		b.advance(end)
		return nil
	}
	done := func(failed error) {
		if failed == nil {
			b.acknowledged(put.began)
		} else {
			b.failed(metrics.Put, b.writeError(failed))
			b.alarm.end(b.acknowledgedRows())
		}
		release()
	}
	if _, err := b.log.AppendNow(b.encoder.Preamble, b.compressor.Compress(body), end-first, done); err != nil {
		release()
		b.locked(func() {
			b.tail.undo(first)
			b.account()
			b.uncount(put)
		})
		return b.writeError(err)
	}
	return nil
}

// memoryLoop makes columns of full chunks of messages while nobody waits for it,
// and keeps to the budget.
func (b *Bucket) memoryLoop() {
	for {
		select {
		case <-b.stop:
			return
		case <-b.tight:
			b.shrink()
		case <-b.packed:
		}
		if err := b.unpack(); err != nil {
			b.logger.Error("messages stay packed", "error", err)
		}
	}
}

// unpack makes columns of all full chunks of messages.
func (b *Bucket) unpack() error {
	for {
		b.mu.Lock()
		i := slices.IndexFunc(b.tail.chunks, func(c chunk) bool { return c.packed != nil && c.packed.full() })
		if i < 0 {
			b.mu.Unlock()
			return nil
		}
		c := b.tail.chunks[i]
		b.mu.Unlock()
		rec, err := c.packed.record()
		if err != nil {
			return err
		}
		b.locked(func() { b.tail.replace([]chunk{c}, rec) })
		rec.Release()
	}
}

// advance is told when the rows up to end are acknowledged.
func (b *Bucket) advance(end int64) {
	b.alarm.advance(end)
	var due bool
	b.locked(func() {
		if err := b.tail.settle(end); err != nil {
			b.logger.Error("small batches stay apart", "error", err)
		}
		due = end-b.checkpoint >= b.opts.FlushRows || b.unflushed >= b.opts.FlushBytes || b.crowded()
	})
	if due || b.walBytes() >= b.opts.MaxWALBytes {
		signal(b.kick)
	}
}

// push takes over a reference to rec and returns its size. The caller holds b.mu.
func (b *Bucket) push(rec arrow.Record) (bytes int64) {
	bytes = b.tail.push(rec)
	b.grew(bytes)
	return bytes
}

// grew takes note of an append to the tail. The caller holds b.mu.
func (b *Bucket) grew(bytes int64) {
	if b.unflushed == 0 {
		b.tally.oldest = time.Now()
	}
	b.unflushed += bytes
	b.account()
	if b.moved != nil {
		close(b.moved)
		b.moved = nil
	}
}

// conform changes the schema of the bucket as rec needs and returns rec with
// the bucket's columns. The caller holds b.appending and releases the result.
func (b *Bucket) conform(rec arrow.Record, noWait bool) (arrow.Record, error) {
	if b.fit(rec.Schema()) {
		return array.NewRecord(b.schema, rec.Columns(), rec.NumRows()), nil
	}
	c, err := batch.Unify(b.schema, rec.Schema())
	if err != nil {
		return nil, err
	}
	if err := b.checkDeclared(rec, c); err != nil {
		return nil, err
	}
	switch {
	case c.Schema == nil:
		return nil, batch.NoColumn()
	case len(c.Casts) > 0 && noWait:
		return nil, engine.ErrWouldBlock
	case len(c.Casts) > 0:
		if err := b.promote(c.Casts); err != nil {
			return nil, err
		}
	}
	aligned, err := batch.Align(rec, c.Schema)
	if err != nil {
		return nil, err
	}
	if !c.None() {
		b.mu.Lock()
		b.setSchema(c.Schema)
		b.mu.Unlock()
	}
	if batch.SameColumns(rec.Schema(), b.schema) {
		b.fits, b.fitted = rec.Schema(), b.schema
	}
	return aligned, nil
}

// fit says that a schema has just the columns of the bucket, as far as that is
// known. The caller holds b.appending.
func (b *Bucket) fit(schema *arrow.Schema) bool {
	return b.schema != nil && b.fitted == b.schema && b.fits == schema
}

// promote gives columns of the rows that the bucket holds another type, all of
// them or none. All rows move into Lance first, so that only one place has to
// change.
func (b *Bucket) promote(casts []arrow.Field) error {
	for _, to := range casts {
		if err := b.table.CheckUnindexed(to.Name, "its type changes"); err != nil {
			return err
		}
	}
	return b.still(func() error {
		before := b.schema
		for i, to := range casts {
			if err := b.cast(to); err != nil {
				for _, done := range casts[:i] {
					// What was exact one way is exact the other way.
					err = errors.Join(err, b.cast(batch.ColumnOf(before, done.Name)))
				}
				return err
			}
		}
		return nil
	})
}

func (b *Bucket) setSchema(s *arrow.Schema) {
	b.schema = s
	b.schemaVersion++
}

// makeRoom holds an append back while the tail or the log is too large.
func (b *Bucket) makeRoom(noWait bool) error {
	for {
		b.mu.Lock()
		full := b.full()
		flushed := b.flushed
		b.mu.Unlock()
		if !full {
			return nil
		}
		signal(b.kick)
		if noWait {
			return engine.ErrWouldBlock
		}
		began := time.Now()
		select {
		case <-flushed:
		case <-b.home.Refused():
			return b.writeFault()
		case <-b.stop:
			return engine.ErrClosed
		}
		b.metrics.HeldBack(time.Since(began))
		b.mu.Lock()
		err := b.flushErr
		b.mu.Unlock()
		if err != nil {
			return fmt.Errorf("engine: no room for more rows: %w", err)
		}
	}
}

// full says that appends have to wait for a flush. The caller holds b.mu.
func (b *Bucket) full() bool {
	return b.unflushed >= b.opts.FlushBytes*3/2 || b.crowded() || b.walBytes() >= 2*b.opts.MaxWALBytes
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
