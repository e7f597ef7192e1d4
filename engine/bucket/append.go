package bucket

import (
	"fmt"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
)

// append is the one way in: every batch that a call brings goes through it.
func (in *ingest) append(b Batch, noWait bool) (first, end int64, err error) {
	// Looked at before anything is waited for: what no bucket would take needs no room and no lock.
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
		// An empty batch has an end, which a caller can wait for like any other, and brings no
		// columns.
		return in.rows.tail.Next(), in.rows.tail.Next(), nil
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
	in.holdRing(false) // there is room again, so puts may go without a call
	return nil
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
	// Outside of the lock of rows: reads need that, and appends are in order by in.appending
	// anyway.
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
	// On this thread where nobody is writing: a write to the page cache takes less than to wake the
	// goroutine that would do it.
	in.log.WriteNow()
	return first, end, nil
}

// logged is told when the log has written an entry, or has failed to.
func (in *ingest) logged(e entry, began time.Time, failed error) {
	if failed == nil {
		in.acknowledged(began)
	} else {
		in.failed(metrics.Put, in.writeError(failed))
		in.rows.waker.End(in.rows.acknowledgedRows())
	}
	e.release()
}

// makeRoom holds an append back while the tail or the log is too large.
func (in *ingest) makeRoom(noWait bool) error {
	for in.rows.isFull() {
		flushed := in.flusher.nextEnd()
		if !in.rows.isFull() { // the flush that made room may have ended before
			return nil
		}
		// Each time round, as the flush that ended may have been one that had begun before these
		// rows came.
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
		// Or an append would wait for ever for a disk that is full.
		if err := in.flusher.lastError(); err != nil {
			return fmt.Errorf("engine: no room for more rows: %w", err)
		}
	}
	return nil
}
