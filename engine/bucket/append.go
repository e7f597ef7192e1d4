package bucket

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/metrics"
)

// ingest takes rows from callers, one append after the other, and gives them their offsets.
type ingest struct {
	*core
	rows           *rows
	flusher        *flusher
	ring           atomic.Pointer[ring.Ring] // of puts that did not call the engine; nil until there is one
	drainRequested chan struct{}             // asks to look into the ring

	// appending orders appends: the schema, the encoder, the offsets, and what is taken out of the ring. It guards what follows.
	appending  sync.Mutex
	ringSchema *batch.MessageSchema
	draining   atomic.Bool // who has it takes puts over
	encoder    *batch.Encoder
	compressor *batch.Compressor // of log entries; nil for none
	fits       *arrow.Schema     // of a batch that had just the columns of fitted
	fitted     *arrow.Schema
	declared   map[string]arrow.Field // nil unless only these columns may be appended
}

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
	if err := b.ingest.admit(noWait); err != nil {
		return 0, 0, err
	}
	defer b.ingest.appending.Unlock()
	return b.ingest.append(rec, nil, noWait)
}

// Check gives the [*SchemaError] that Append would give, and stores nothing: who has
// several batches to append, all of them or none, asks for each of them first.
func (b *Bucket) Check(rec arrow.Record, noWait bool) (err error) {
	defer func() { b.failed(metrics.Put, err) }()
	if err := checkValues(rec); err != nil {
		return err
	}
	if err := b.ingest.tryAppends(noWait); err != nil {
		return err
	}
	defer b.ingest.appending.Unlock()
	c, err := batch.Unify(b.rows.schema, rec.Schema())
	if err == nil {
		err = b.ingest.checkDeclared(rec, c)
	}
	if err == nil {
		err = b.ingest.checkRequired(rec)
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
	if err := b.ingest.admit(noWait); err != nil {
		return 0, 0, err
	}
	defer b.ingest.appending.Unlock()
	rows, err := schema.Check(message)
	if err != nil {
		return 0, 0, err
	}
	if rows > 0 && len(message) < packedBytes && b.ingest.fit(schema.Schema) && !b.ingest.requires() && !schema.Strict {
		return b.ingest.pack(schema, message, rows)
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
	return b.ingest.append(rec, body, noWait)
}

// admit takes in.appending for an append, unless the bucket takes none now.
func (in *ingest) admit(noWait bool) error {
	if err := in.tryAppends(noWait); err != nil {
		return err
	}
	admitted := false
	defer func() {
		if !admitted {
			in.appending.Unlock()
		}
	}()
	err := in.writable()
	if err == nil {
		err = in.makeRoom(noWait)
	}
	if r := in.ring.Load(); r != nil && err == nil {
		r.Hold(false)
	}
	admitted = err == nil
	return err
}

// append gives rec the columns of the bucket and stores it. Body is what the log
// would get for rec as it is, nil if that is not known. The caller holds
// in.appending.
func (in *ingest) append(rec arrow.Record, body [][]byte, noWait bool) (first, end int64, err error) {
	if rec.NumRows() == 0 {
		n := in.rows.tail.next
		return n, n, nil
	}
	aligned, err := in.conform(rec, noWait)
	if err != nil {
		return 0, 0, err
	}
	if err := in.checkRequired(aligned); err != nil {
		aligned.Release()
		return 0, 0, err
	}
	if !in.fit(rec.Schema()) {
		body = nil
	}
	return in.store(aligned, body)
}

// store appends an aligned batch, whose reference it takes over, to the tail
// and, as body if that is not nil, to the log.
func (in *ingest) store(rec arrow.Record, body [][]byte) (first, end int64, err error) {
	err = in.useSchema(rec.Schema())
	if err == nil && body == nil && in.log != nil {
		body, err = in.encoder.Encode(rec)
	}
	if err != nil {
		rec.Release()
		return 0, 0, err
	}
	var put counted
	in.rows.locked(func() {
		first, end = in.rows.tail.next, in.rows.tail.next+rec.NumRows()
		put = in.rows.count(in.rows.push(rec))
	})
	rec.Retain() // the body may point into it
	return first, end, in.commit(first, end, body, put, rec.Release)
}

// pack appends a message that has the columns of the bucket.
func (in *ingest) pack(columns *batch.MessageSchema, message []byte, rows int64) (first, end int64, err error) {
	if err := in.useSchema(in.rows.schema); err != nil {
		return 0, 0, err
	}
	var full bool
	var put counted
	in.rows.locked(func() {
		first, end = in.rows.tail.next, in.rows.tail.next+rows
		full = in.rows.tail.pack(columns, in.rows.schema, message, rows)
		in.rows.grew(int64(len(message)))
		put = in.rows.count(int64(len(message)))
	})
	err = in.commit(first, end, [][]byte{message}, put, func() {})
	if full {
		signal(in.rows.unpackRequested)
	}
	return first, end, err
}

// useSchema has the encoder of the log be one for batches of schema.
func (in *ingest) useSchema(schema *arrow.Schema) (err error) {
	if in.log != nil && (in.encoder == nil || in.encoder.Schema != schema) {
		in.encoder, err = batch.NewEncoder(schema)
	}
	return err
}

// commit logs the rows [first, end), which are the newest of the tail, and calls
// release when the body is written or failed to be. After an error the rows are
// not there.
func (in *ingest) commit(first, end int64, body [][]byte, put counted, release func()) error {
	if in.log == nil {
		release()
		in.acknowledged(put.began)
		in.rows.advance(end)
		return nil
	}
	done := func(failed error) {
		if failed == nil {
			in.acknowledged(put.began)
		} else {
			in.failed(metrics.Put, in.writeError(failed))
			in.rows.alarm.end(in.rows.acknowledgedRows())
		}
		release()
	}
	if _, err := in.log.AppendNow(in.encoder.Preamble, in.compressor.Compress(body), end-first, done); err != nil {
		release()
		in.rows.locked(func() {
			in.rows.tail.undo(first)
			in.rows.account()
			in.rows.uncount(put)
		})
		return in.writeError(err)
	}
	return nil
}

// conform changes the schema of the bucket as rec needs and returns rec with
// the bucket's columns. The caller holds in.appending and releases the result.
func (in *ingest) conform(rec arrow.Record, noWait bool) (arrow.Record, error) {
	if in.fit(rec.Schema()) {
		return array.NewRecord(in.rows.schema, rec.Columns(), rec.NumRows()), nil
	}
	c, err := batch.Unify(in.rows.schema, rec.Schema())
	if err != nil {
		return nil, err
	}
	if err := in.checkDeclared(rec, c); err != nil {
		return nil, err
	}
	switch {
	case c.Schema == nil:
		return nil, batch.NoColumn()
	case len(c.Casts) > 0 && noWait:
		return nil, engine.ErrWouldBlock
	case len(c.Casts) > 0:
		if err := in.promote(c.Casts); err != nil {
			return nil, err
		}
	}
	aligned, err := batch.Align(rec, c.Schema)
	if err != nil {
		return nil, err
	}
	if !c.None() {
		in.rows.mu.Lock()
		in.rows.setSchema(c.Schema)
		in.rows.mu.Unlock()
	}
	if batch.SameColumns(rec.Schema(), in.rows.schema) {
		in.fits, in.fitted = rec.Schema(), in.rows.schema
	}
	return aligned, nil
}

// fit says that a schema has just the columns of the bucket, as far as that is
// known. The caller holds in.appending.
func (in *ingest) fit(schema *arrow.Schema) bool {
	return in.rows.schema != nil && in.fitted == in.rows.schema && in.fits == schema
}

// promote gives columns of the rows that the bucket holds another type, all of
// them or none. All rows move into Lance first, so that only one place has to
// change.
func (in *ingest) promote(casts []arrow.Field) error {
	for _, to := range casts {
		if err := in.table.CheckUnindexed(to.Name, "its type changes"); err != nil {
			return err
		}
	}
	return in.flusher.still(func() error {
		before := in.rows.schema
		for i, to := range casts {
			if err := in.cast(to); err != nil {
				for _, done := range casts[:i] {
					// What was exact one way is exact the other way.
					err = errors.Join(err, in.cast(batch.ColumnOf(before, done.Name)))
				}
				return err
			}
		}
		return nil
	})
}

// makeRoom holds an append back while the tail or the log is too large.
func (in *ingest) makeRoom(noWait bool) error {
	for in.rows.isFull() {
		flushed := in.flusher.nextEnd()
		if !in.rows.isFull() { // the flush that made room may have ended before
			return nil
		}
		signal(in.flushRequested)
		if noWait {
			return engine.ErrWouldBlock
		}
		began := time.Now()
		select {
		case <-flushed:
		case <-in.home.Refused():
			return in.writeFault()
		case <-in.stop:
			return engine.ErrClosed
		}
		in.metrics.HeldBack(time.Since(began))
		if err := in.flusher.lastError(); err != nil {
			return fmt.Errorf("engine: no room for more rows: %w", err)
		}
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// cast promotes a column of the table. The caller holds in.table.Growing and
// in.table.Reshaping, and all rows are in the table.
func (in *ingest) cast(to arrow.Field) error {
	snapshot, err := in.table.Cast(to)
	if errors.Is(err, lance.ErrInexact) {
		have := batch.ColumnOf(in.rows.schema, to.Name)
		return &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and holds values that %s cannot hold exactly", batch.TypeName(have), batch.TypeName(to))}
	}
	if err != nil || snapshot == nil {
		return err
	}
	fields := slices.Clone(in.rows.schema.Fields())
	fields[in.rows.schema.FieldIndices(to.Name)[0]] = to
	in.rows.mu.Lock()
	defer in.rows.mu.Unlock()
	in.rows.install(snapshot, in.rows.checkpoint)
	in.rows.tail.evict(in.rows.checkpoint, 0)
	in.rows.setSchema(arrow.NewSchema(fields, nil))
	return nil
}
