package bucket

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

// Append gives the rows of a batch the next offsets and returns the first of them
// and the one after the last. The rows are acknowledged once [Bucket.Wait] of
// that end returns nil.
//
// With noWait, where the bucket has to flush or to change the schema first,
// nothing is stored and the error is [ErrWouldBlock]. A batch that does not fit
// gives a [*SchemaError], and nothing of it is stored. It is the one way in: every
// batch that a call brings goes through it.
func (b *Bucket) Append(rows Batch, noWait bool) (first, end int64, err error) {
	defer func() { b.failed(metrics.Put, err) }()
	in := b.ingest
	// Looked at before anything is waited for: what no bucket would take needs no room and no lock.
	count, err := rows.check()
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
	if count == 0 {
		// An empty batch has an end, which a caller can wait for like any other, and brings no
		// columns.
		return in.rows.tail.Next(), in.rows.tail.Next(), nil
	}
	e, err := rows.entry(in, count, noWait)
	if err != nil {
		return 0, 0, err
	}
	return in.store(e)
}

// Check gives the [*SchemaError] that Append would give, and stores nothing: who has
// several records to append, all of them or none, asks for each of them first.
func (b *Bucket) Check(rec arrow.Record, noWait bool) (err error) {
	// A record that is refused here is one that was not put, whoever asked first.
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
		err = b.ingest.declared.Check(b.rows.schema, rec, c)
	}
	if err == nil {
		err = b.ingest.declared.CheckRequired(rec)
	}
	return err
}

// SetWaker has f called where that is asked for by [Bucket.Notify]: with the number of rows that were
// acknowledged since the call before, at first since there are any, and whether no
// more will be, as the log failed or was closed. nil for none. f may be called on any
// goroutine and must not wait.
func (b *Bucket) SetWaker(f func(rows int64, over bool)) { b.rows.waker.Set(f) }

// Notify has the waker called once, as soon as rows rows are acknowledged or no more will
// be: at once if that is so already. Of several calls before that the one for the
// fewest rows counts.
func (b *Bucket) Notify(rows int64) {
	_ = b.ingest.catchUp(true) // or the ring is taken over a little later
	b.rows.waker.Ask(rows)
	// After Ask: what was acknowledged in between has found nobody to wake.
	b.rows.waker.Advance(b.rows.acknowledgedRows())
	// A bucket whose table failed takes no more rows, but its log acknowledges those that it has.
	if b.log != nil && b.log.Err() != nil {
		b.rows.waker.End(b.rows.acknowledgedRows())
	}
}

// Acknowledged is the number of acknowledged rows, which are the visible ones. It
// does not wait: rows in the ring may be missing while the bucket is changed.
func (b *Bucket) Acknowledged() int64 {
	_ = b.ingest.glance() // a read says what is wrong
	return b.rows.acknowledgedRows()
}

// AcknowledgedHere is Acknowledged for one that has just appended, and so has what was in the ring
// before: it looks no further than this process has come.
func (b *Bucket) AcknowledgedHere() int64 { return b.rows.acknowledgedRows() }

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
	// The log knows best what became of a row that is not acknowledged: it has the error of the
	// write that it was in.
	err := b.log.Wait(ctx, rows)
	if errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrClosed) {
		return b.writeError(err)
	}
	return err
}

// OpenRing makes the ring, or empties it, for messages with the columns of schema, and returns the offset of the next row. From
// then on the rows of an entry are acknowledged as soon as the putter has written it, which it may do while all rows before are
// acknowledged. It never waits: the error is [ErrWouldBlock] where it would have to. Where such puts cannot be, the offset is -1.
func (b *Bucket) OpenRing(schema *batch.MessageSchema) (next int64, err error) {
	if err := b.ingest.tryAppends(true); err != nil {
		return -1, err
	}
	defer b.ingest.appending.Unlock()
	if err := b.ingest.admit(true); err != nil {
		return -1, err
	}
	return b.ingest.openRing(schema)
}

// DrainRing asks for what is in the ring to be taken out soon.
func (b *Bucket) DrainRing() { signal(b.ingest.drainRequested) }
