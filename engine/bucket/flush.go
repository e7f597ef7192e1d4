package bucket

import (
	"errors"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/retention"
	"github.com/persisting/persisting/engine/tail"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

// flusher moves rows from memory into the table, and so out of the log. table.Growing is held for each move.
type flusher struct {
	*core
	rows      *rows
	retention *retention.Retention // is told when rows came into the table

	mu       sync.Mutex    // guards what follows
	flushed  chan struct{} // closed at the end of each flush
	flushErr error         // of the last flush
}

// nextEnd is closed at the end of the flush that ends next.
func (fl *flusher) nextEnd() <-chan struct{} {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.flushed
}

// lastError is how the last flush ended.
func (fl *flusher) lastError() error {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.flushErr
}

// flush is Flush, asked for by a caller or not. It leaves a small log as it is.
func (fl *flusher) flush(asked bool) error { return fl.flushCutting(asked, fl.opts.CutBytes) }

// flushCutting is flush that cuts a log of so many bytes and more.
func (fl *flusher) flushCutting(asked bool, cutBytes int64) error {
	fl.table.Growing.Lock()
	defer fl.table.Growing.Unlock()
	if err := fl.home.Fault(); err != nil {
		return err
	}
	started := time.Now()
	from, to, err := fl.flushTail(cutBytes)
	err = lance.Advised(err)
	// The end of the bucket is no end of a flush: those who wait for room hear of it by the bucket.
	if errors.Is(err, engine.ErrClosed) {
		return err
	}
	if from == to && err == nil {
		return fl.cutRest(to)
	}
	// Rows that came during the flush are not in the table. When the first of them came is not known, and is after it began.
	if err == nil {
		fl.rows.mu.Lock()
		fl.rows.tally.oldest = started
		fl.rows.mu.Unlock()
	}
	fl.endFlush(err)
	if err == nil {
		fl.noteTimes(to)
	}
	// After those who wait were told: they hold puts back, and a logger may take its time.
	fl.ended(metrics.Flush, asked, started, err)
	return err
}

// cutRest removes what earlier flushes left in the log: little, or all of it where the cut failed and appends wait for it.
func (fl *flusher) cutRest(to int64) error {
	if fl.walBytes() == 0 {
		return nil
	}
	err := fl.cutLog(to)
	if err != nil || fl.lastError() != nil {
		fl.endFlush(err)
	}
	return err
}

// endFlush tells those who wait for the end of a flush how it went: a channel that is closed reaches all of them, however many,
// and each looks again whether there is room.
func (fl *flusher) endFlush(err error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.flushErr = err
	close(fl.flushed)
	fl.flushed = make(chan struct{})
}

// flushTail moves the rows [from, to) into the table, and out of a log of so many bytes and more. The caller holds fl.table.Growing.
func (fl *flusher) flushTail(cutBytes int64) (from, to int64, err error) {
	if err := fl.rows.unpack(); err != nil {
		return 0, 0, err
	}
	fl.rows.mu.Lock()
	closed, promised := fl.rows.closed, fl.rows.promised
	fl.rows.mu.Unlock()
	if closed {
		return 0, 0, engine.ErrClosed
	}
	if fl.log != nil {
		// The log is about to have these rows, and can be cut then. Where it fails they are acknowledged nevertheless.
		_ = fl.log.Wait(background, promised)
	}
	var schema *arrow.Schema
	var chunks []tail.Chunk
	fl.rows.locked(func() {
		// Up to what is acknowledged: an entry that the log may still refuse must not be in the
		// table, where nothing takes it back.
		from, to = fl.rows.checkpoint, fl.rows.visible()
		schema = fl.rows.schema
		chunks, err = fl.rows.tail.Slice(from, to)
	})
	if err != nil || from == to {
		return from, to, err
	}
	snapshot, err := fl.writeTable(schema, chunks, from)
	if err != nil {
		return from, to, err
	}
	// The version is on disk and marked. Now it is published, and only then the log cut: a crash before that finds the rows twice,
	// and drops those of the log by their offsets; the other way round it could find them nowhere.
	fl.rows.publish(snapshot, to)
	if fl.log != nil && fl.walBytes() >= cutBytes {
		err = fl.cutLog(to)
	}
	return from, to, err
}

// cutLog removes what the log has of rows that are in the table.
func (fl *flusher) cutLog(to int64) error {
	// Rows that came through the ring may be in the table before the log has acknowledged them.
	err := fl.log.Cut(min(to, fl.log.Acknowledged()))
	if errors.Is(err, wal.ErrFailed) {
		return fl.writeError(err)
	}
	return err
}

// writeTable appends the rows from offset from on to the table and brings them to disk. It
// takes over the references to chunks.
func (fl *flusher) writeTable(schema *arrow.Schema, chunks []tail.Chunk, from int64) (*lance.Snapshot, error) {
	// Joined here, and in the tail as well: a page of the table for each put would make reads slow
	// for ever.
	batches, err := fl.rows.coalesce(schema, chunks, smallChunk)
	if err != nil {
		return nil, err
	}
	defer batch.ReleaseAll(batches)
	return fl.table.Append(schema, batches, from)
}

// flushLoop flushes when it is asked to and when rows have waited long enough.
func (fl *flusher) flushLoop() {
	var tick <-chan time.Time
	if fl.opts.FlushInterval > 0 {
		ticker := time.NewTicker(fl.opts.FlushInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-fl.stop:
			return
		// A request that comes during a flush stays in the channel, as what it is about may have
		// come after the rows were taken.
		case <-fl.flushRequested:
		case <-tick:
		}
		// After a failure a second's rest: a full disk would be tried without a pause, as rows keep coming.
		if err := fl.flush(false); err != nil {
			select {
			case <-fl.stop:
				return
			case <-time.After(time.Second):
			}
		}
	}
}

// still calls do while all rows are in the table and nothing else changes it. The
// caller holds ingest.appending.
func (fl *flusher) still(do func() error) error {
	if err := fl.syncLog(); err != nil {
		return err
	}
	if err := fl.empty(); err != nil {
		return err
	}
	fl.table.Reshaping.Lock()
	defer fl.table.Reshaping.Unlock()
	fl.table.Growing.Lock()
	defer fl.table.Growing.Unlock()
	return do()
}

// empty moves all rows into the table and leaves nothing in the log, however small it is. Nobody appends meanwhile.
func (fl *flusher) empty() error { return fl.flushCutting(false, 0) }

// syncLog waits until all that was appended is acknowledged.
func (fl *flusher) syncLog() error {
	if fl.log == nil {
		return nil
	}
	if err := fl.log.Sync(background); err != nil {
		return fl.writeError(err)
	}
	return nil
}

// removeFlushed is remove for the rows that are in the table.
func (fl *flusher) removeFlushed(do func(*lance.Table, *lance.Snapshot) (*lance.Snapshot, error)) (int64, error) {
	if err := fl.writable(); err != nil {
		return 0, err
	}
	fl.table.Reshaping.Lock()
	defer fl.table.Reshaping.Unlock()
	fl.table.Growing.Lock()
	defer fl.table.Growing.Unlock()
	// A compaction that has begun could bring removed rows back, or be in vain: it holds Reshaping,
	// and so has ended.
	after, removed, err := fl.table.Remove(do)
	if err != nil || after == nil {
		return 0, err
	}
	// The table has lost rows that memory may still have. If they cannot be taken out of it, reads would show them again.
	if err := fl.rows.replaceTable(after); err != nil {
		return 0, fl.home.Refuse(err)
	}
	return removed, nil
}

// noteTimes notes that the rows below an offset are in the table.
func (fl *flusher) noteTimes(rows int64) {
	if fl.opts.RetentionAge == 0 {
		return
	}
	if err := fl.retention.Note(rows, fl.rows.state().first, time.Now()); err != nil {
		fl.logger.Error("rows will be kept longer than retention_age asks for", "error", err)
	}
}

// settleBelow brings the rows below offset to the disk.
func (fl *flusher) settleBelow(offset int64) error {
	fl.rows.mu.Lock()
	settled := offset <= fl.rows.checkpoint
	fl.rows.mu.Unlock()
	switch {
	case settled:
		return nil
	case fl.log != nil:
		return fl.syncLog() // which is less than a flush
	}
	return fl.flush(false)
}
