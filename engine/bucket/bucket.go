package bucket

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/tasks"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

// Bucket is an open bucket: parts that know those before them and none after. Each has a lock of its own.
//
// # The order of locks
//
// Who holds a lock takes only those that come after it:
//
//	those of tasks     the order of marks and who takes which rows, then which rows have which columns
//	ingest.appending   the order of appends: whose offsets are next, and what they may do to the columns
//	table.Reshaping    what the table is made of
//	table.Growing      what is in the table: one flush, or change of its rows or columns
//	flusher.mu         how the last flush ended
//	rows.mu            the rows in memory, and which version of the table belongs to them
//	the locks within the table, the log, the pages and the waker, which call nobody that takes one
type Bucket struct {
	*core
	rows    *rows    // in memory
	flusher *flusher // moves them into the table
	ingest  *ingest  // takes them from callers
	columns *Columns // changes what they are made of
	upkeep  *upkeep  // keeps the table small

	tasks *tasks.Tasks // what tasks have consumed of them

	consumers *statefile.Register // offsets that they committed
	recovered recovered
	workers   sync.WaitGroup
	broken    atomic.Pointer[error] // see Break
}

// Schema returns the columns of the bucket, nil when it has none, and a number
// that changes with them.
func (b *Bucket) Schema() (*arrow.Schema, uint64) {
	b.rows.mu.Lock()
	defer b.rows.mu.Unlock()
	return b.rows.schema, b.rows.schemaVersion
}

// Tasks are what tasks have consumed of the rows, and can consume.
func (b *Bucket) Tasks() *tasks.Tasks { return b.tasks }

// Columns changes what the rows are made of.
func (b *Bucket) Columns() *Columns { return b.columns }

// Close flushes and closes the bucket. It is closed whatever is returned; the
// error is that of the last flush.
func (b *Bucket) Close() error {
	if b.closing.Swap(true) {
		return engine.ErrClosed
	}
	close(b.stop)
	// A build of an index can take minutes. It leaves nothing behind, and is asked to end before
	// anything waits for the worker that runs it.
	b.table.Stop()
	// After this nobody but callers is at work, and these find that the bucket closes at their next
	// look.
	b.workers.Wait()
	var err error
	if b.ingest.follower == nil {
		err = b.settleAll()
	} else {
		b.ingest.follower.close()
	}
	err = errors.Join(err, contained(b.tasks.Close)) // which waits for who reads rows, and so comes before the locks
	b.ingest.appending.Lock()
	defer b.ingest.appending.Unlock()
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	b.table.Growing.Lock()
	defer b.table.Growing.Unlock()
	b.rows.mu.Lock()
	// Under the lock that reads take: one that has its view keeps the version and the batches that
	// it pinned, and one that comes now is told.
	b.rows.closed = true
	b.rows.mu.Unlock()
	// Asked before the log is closed, which knows what was acknowledged.
	acknowledged := b.rows.acknowledgedRows()
	err = errors.Join(err, b.release(err == nil), b.home.Release())
	b.rows.waker.End(acknowledged)
	return err
}

// settleAll brings everything into the table before the bucket is closed.
func (b *Bucket) settleAll() (err error) {
	defer engine.Contain(&err)
	if err := b.Broken(); err != nil {
		return err
	}
	b.ingest.lockAppends()
	defer b.ingest.appending.Unlock()
	if b.log != nil {
		if failed := b.log.Sync(background); failed != nil {
			err = b.writeError(failed)
		}
	}
	return errors.Join(err, b.flusher.empty())
}

// release lets go of everything that recover or Open took, but for the lock; flushed
// says that all rows in memory are in the table.
func (b *Bucket) release(flushed bool) error {
	var faults []error
	for _, let := range []func() error{
		b.tasks.Close,
		b.closeLog,
		// After the log has written, and while no other opener can have a ring.
		func() error { return b.ingest.closeRing(flushed) },
		b.rows.forgetRows,
		b.closeTable,
		func() error { b.metrics.Close(); return nil },
	} {
		faults = append(faults, contained(let)) // the others, and the lock, must not stay
	}
	return errors.Join(faults...)
}

// contained is f whose panic is an error.
func contained(f func() error) (err error) {
	defer engine.Contain(&err)
	return f()
}

// refuse is called when the bucket refuses writes from now on.
func (b *Bucket) refuse(cause error) {
	b.ingest.holdRing(true) // so that puts are told
	b.logger.Error("bucket refuses writes", "cause", cause)
}

// opened gives a bucket that has been recovered its metrics.
func (b *Bucket) opened(began time.Time) {
	took := time.Since(began)
	b.recovered.rows = b.rows.tail.Next()
	if b.opts.EnableMetrics {
		b.opts.Metrics.Opened(took)
		b.metrics = b.opts.Metrics.Bucket(b.home.Path, b.metricsState)
		r := &b.recovered
		b.metrics.Recovered(r.replayed, r.torn, r.versionsSetAside, wal.Known(r.missing))
		b.countVersions()
		if err := b.table.LookAtIndexes(); err != nil {
			b.logger.Warn("indexes cannot be listed", "error", err)
		}
	}
	b.logger.Debug("opened", "operation", "recovery", "asked", true, "took", took, "rows", b.recovered.rows, "replayed", b.recovered.replayed)
}

// metricsState is the state of the bucket for a scrape, which is one of all buckets:
// a panic here must not be its end.
func (b *Bucket) metricsState() (state metrics.State) {
	defer b.breakOnPanic()
	if b.Broken() == nil {
		_ = b.ingest.catchUp(true) // or the next scrape has it
	}
	// All numbers of one moment: a scrape in which rows are in the tail and in the table as well
	// would show some twice.
	s := b.rows.state()
	out := metrics.State{
		Puts:        s.tally.puts,
		PutRecords:  s.checkpoint + s.unflushedRows - b.recovered.rows,
		PutBytes:    s.tally.bytes,
		PageHits:    s.pageHits,
		PageMisses:  s.pageMisses,
		RetainRows:  b.upkeep.retained.rows.Load(),
		RetainBytes: b.upkeep.retained.bytes.Load(),
		BufferRows:  s.unflushedRows,
		BufferBytes: s.unflushedBytes,
		WALBytes:    b.walBytes(),
		Rows:        s.rows + s.unflushedRows,
		Fragments:   s.fragments,
		TableBytes:  s.tableBytes,
		RecentBytes: s.memory - s.pageBytes - s.unflushedBytes,
		PageBytes:   s.pageBytes,
		Indexes:     s.indexing.Count,
		IndexLag:    s.indexing.Lag(s.checkpoint),
		Poisoned:    b.writeFault() != nil,
	}
	if s.unflushedRows > 0 {
		out.Lag = time.Since(s.tally.oldest)
	}
	if b.log != nil {
		out.WALSegments = b.log.Segments()
	}
	return out
}

// Break ends all use of the bucket, but for Close, after a panic that cause tells of.
// Those who wait for rows or for room are told.
func (b *Bucket) Break(cause error) {
	// First, so that whoever is woken by what follows finds the reason.
	b.broken.CompareAndSwap(nil, &cause)
	_ = b.home.Refuse(cause)
	if b.log != nil {
		b.log.Abort(cause)
	}
	// The marks have a log of their own, with callers who wait for it.
	b.tasks.Abort(cause)
	b.rows.waker.End(b.rows.acknowledgedRows())
}

// Broken returns what Break was called with, nil if it was not.
func (b *Bucket) Broken() error {
	if cause := b.broken.Load(); cause != nil {
		return *cause
	}
	return nil
}

// breakOnPanic is deferred by what the bucket does of its own accord.
func (b *Bucket) breakOnPanic() {
	if with := recover(); with != nil {
		b.Break(engine.Panicked(with))
	}
}

// inBackground runs a loop that ends when b.stop is closed.
func (b *Bucket) inBackground(loop func()) {
	b.workers.Go(func() {
		defer b.breakOnPanic()
		loop()
	})
}
