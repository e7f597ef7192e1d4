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

// entry is the rows of an append, with the columns of the bucket: a record or a
// message for the tail, and what the log gets for them.
type entry struct {
	rows    int64
	record  arrow.Record // whose reference the entry has; nil for a message
	message Message
	body    [][]byte
}

func (e *entry) retain() {
	if e.record != nil {
		e.record.Retain()
	}
}

func (e *entry) release() {
	if e.record != nil {
		e.record.Release()
	}
}

// append is the one way in: every batch that a call brings goes through it.
func (in *ingest) append(b Batch, noWait bool) (first, end int64, err error) {
	rows, err := b.check()
	if err == nil {
		err = in.tryAppends(noWait)
	}
	if err != nil {
		return 0, 0, err
	}
	defer in.appending.Unlock()
	if err := in.admit(noWait); err != nil {
		return 0, 0, err
	}
	if rows == 0 {
		return in.rows.tail.next, in.rows.tail.next, nil
	}
	e, err := b.entry(in, rows, noWait)
	if err != nil {
		return 0, 0, err
	}
	return in.store(e)
}

// admit waits until there is room for an append, and refuses it where the bucket takes
// none. The caller holds in.appending.
func (in *ingest) admit(noWait bool) error {
	if err := in.writable(); err != nil {
		return err
	}
	if err := in.makeRoom(noWait); err != nil {
		return err
	}
	in.holdRing(false)
	return nil
}

// align makes an entry of a record. Body is what the log would get for it as it is,
// nil if that is not known. The caller holds in.appending.
func (in *ingest) align(rec arrow.Record, body [][]byte, noWait bool) (entry, error) {
	aligned, err := in.conform(rec, noWait)
	if err != nil {
		return entry{}, err
	}
	if !in.fit(rec.Schema()) {
		body = nil
	}
	err = in.checkRequired(aligned)
	if err == nil {
		err = in.useSchema(aligned.Schema())
	}
	if err == nil && body == nil && in.log != nil {
		body, err = in.encoder.Encode(aligned)
	}
	if err != nil {
		aligned.Release()
		return entry{}, err
	}
	return entry{rows: aligned.NumRows(), record: aligned, body: body}, nil
}

// store gives an entry, which it takes over, its offsets. What is stored in memory is
// seen by reads once it is acknowledged, without a log at once.
func (in *ingest) store(e entry) (first, end int64, err error) {
	if in.log == nil {
		var began time.Time
		first, end, _ = in.rows.place(e, func(now time.Time) error { began = now; return nil })
		in.acknowledged(began)
		in.rows.advance(end)
		return first, end, nil
	}
	body := in.compressor.Compress(e.body)
	e.retain() // the body may point into the record
	first, end, err = in.rows.place(e, func(began time.Time) error {
		_, err := in.log.Defer(in.encoder.Preamble, body, e.rows, func(failed error) { in.logged(e, began, failed) })
		return err
	})
	if err != nil {
		e.release()
		return 0, 0, in.writeError(err)
	}
	in.log.WriteNow()
	return first, end, nil
}

// logged is told when the log has written an entry, or has failed to.
func (in *ingest) logged(e entry, began time.Time, failed error) {
	if failed == nil {
		in.acknowledged(began)
	} else {
		in.failed(metrics.Put, in.writeError(failed))
		in.rows.alarm.end(in.rows.acknowledgedRows())
	}
	e.release()
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
