package bucket

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
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

// OpenRing makes the ring, or empties it, for messages with the columns of schema, and returns the offset of the next row. From
// then on the rows of an entry are acknowledged as soon as the putter has written it, which it may do while all rows before are
// acknowledged. It never waits: the error is [ErrWouldBlock] where it would have to. Where such puts cannot be, the offset is -1.
func (b *Bucket) OpenRing(schema *batch.MessageSchema) (next int64, err error) {
	if err := b.ingest.admit(true); err != nil {
		return -1, err
	}
	defer b.ingest.appending.Unlock()
	if b.log != nil && b.opts.WALSyncInterval < minSyncInterval || !b.ingest.fit(schema.Schema) || b.ingest.requires() || schema.Strict {
		return -1, nil
	}
	var preamble []byte
	if b.log != nil {
		if err := b.ingest.useSchema(b.rows.schema); err != nil {
			return -1, err
		}
		if preamble = b.ingest.encoder.Preamble; len(preamble) > ring.MaxPreamble {
			return -1, nil
		}
	}
	r := b.ingest.ring.Load()
	if r == nil {
		if err := b.home.Owned(); err != nil {
			return -1, err
		}
		if r, err = ring.Create(b.ringPath(), b.id, b.log != nil); err != nil {
			b.logger.Warn("puts go without a ring, which takes longer", "error", err)
			return -1, nil
		}
		b.ingest.ring.Store(r)
	}
	b.rows.mu.Lock()
	next = b.rows.tail.next
	waiting := b.rows.visible() < next
	b.rows.mu.Unlock()
	if waiting || !r.Empty() {
		return -1, engine.ErrWouldBlock
	}
	b.ingest.ringSchema = schema
	return next, r.Begin(preamble)
}

// DrainRing asks for what is in the ring to be taken out soon.
func (b *Bucket) DrainRing() { signal(b.ingest.drainRequested) }

// SetBell has f called where that is asked for: with the number of rows that were
// acknowledged since the call before, at first since there are any, and whether no
// more will be, as the log failed or was closed. nil for none. f may be called on any
// goroutine and must not wait.
func (b *Bucket) SetBell(f func(rows int64, over bool)) { b.rows.alarm.set(f) }

// Notify rings the bell once, as soon as rows rows are acknowledged or no more will
// be: at once if that is so already. Of several calls before it rings the one for the
// fewest rows counts.
func (b *Bucket) Notify(rows int64) {
	_ = b.ingest.catchUp(true) // or the ring is taken over a little later
	b.rows.alarm.arm(rows)
	b.rows.alarm.advance(b.rows.acknowledgedRows())
	// A bucket whose table failed takes no more rows, but its log acknowledges those that it has.
	if b.log != nil && b.log.Err() != nil {
		b.rows.alarm.end(b.rows.acknowledgedRows())
	}
}

// Acknowledged is the number of acknowledged rows, which are the visible ones. It
// does not wait: rows in the ring may be missing while the bucket is changed.
func (b *Bucket) Acknowledged() int64 {
	_ = b.ingest.glance() // a read says what is wrong
	return b.rows.acknowledgedRows()
}

// Wait waits until rows rows are acknowledged, the bucket is poisoned, or ctx
// is done.
func (b *Bucket) Wait(ctx context.Context, rows int64) error {
	if b.ingest.follower != nil {
		return b.ingest.follower.wait(ctx, rows)
	}
	_ = b.ingest.catchUp(true) // or the ring is taken over a little later
	if b.log == nil {
		return b.rows.waitTail(ctx, rows)
	}
	if b.rows.acknowledgedRows() >= rows {
		return nil
	}
	err := b.log.Wait(ctx, rows)
	if errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrClosed) {
		return b.writeError(err)
	}
	return err
}
