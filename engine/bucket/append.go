package bucket

import (
	"fmt"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
)

// admit waits while the tail or the log is too large, and refuses an append where the bucket takes
// none. The caller holds in.appending.
func (in *ingest) admit(noWait bool) error {
	if err := in.writable(); err != nil {
		return err
	}
	for in.rows.isFull() {
		flushed := in.flusher.nextEnd()
		if !in.rows.isFull() { // the flush that made room may have ended before
			break
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
	in.holdRing(false) // there is room again, so puts may go without a call
	return nil
}

// store gives an entry, which it takes over, its offsets. What is stored in memory is
// seen by reads once it is acknowledged, without a log at once. What the log refuses
// is not there: nothing has to be taken back.
func (in *ingest) store(e entry) (first, end int64, err error) {
	began := in.rows.began()
	var body [][]byte
	if in.log != nil {
		// Outside of the lock of rows: reads need that, and appends are in order by in.appending
		// anyway.
		body = in.compressor.Compress(e.body)
		e.retain() // the body may point into the record
	}
	in.rows.locked(func() {
		// The log and the tail get the entry under one lock, so that both have all entries in the
		// same order: a row's offset is its place in either.
		if in.log != nil {
			_, err = in.log.Defer(in.encoder.Preamble, body, e.rows, func(failed error) { in.logged(e, began, failed) })
		}
		if err == nil {
			first = in.rows.tail.Next()
			in.rows.put(e)
			end = in.rows.tail.Next()
		}
	})
	switch {
	case err != nil:
		e.release()
		e.release() // as what the log would have had
		return 0, 0, in.writeError(err)
	case in.log == nil:
		in.acknowledged(began)
		in.rows.advance(end)
	default:
		// On this thread where nobody is writing: a write to the page cache takes less than to wake
		// the goroutine that would do it.
		in.log.WriteNow()
	}
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
