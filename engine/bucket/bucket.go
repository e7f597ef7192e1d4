package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

// Bucket is an open bucket.
type Bucket struct {
	opts    Options
	home    *statefile.Dir
	id      [16]byte
	logger  *slog.Logger
	metrics *metrics.Bucket // nil if they are off

	log       *wal.Log            // nil without a log
	table     *table.Table        // what was flushed; nil until recovery has looked at it
	pages     *table.Pages        // of it, that were read last
	consumers *statefile.Register // offsets that they committed
	times     times
	alarm     alarm         // see Notify
	kick      chan struct{} // asks for a background flush
	tidy      chan struct{} // asks for a background compaction
	packed    chan struct{} // asks to unpack messages
	rung      chan struct{} // asks to look into the ring
	tight     chan struct{} // asks to take less memory
	stop      chan struct{}
	share     *memory.Share // of the memory budget
	workers   sync.WaitGroup
	closing   atomic.Bool

	recovered struct { // when the bucket was opened
		rows             int64 // that it had then
		replayed, torn   int64 // rows that came from the log, bytes cut off it
		versionsSetAside int
		missing          []wal.Range // rows that a salvage did not find
	}

	broken atomic.Pointer[error]     // see Break
	ring   atomic.Pointer[ring.Ring] // of puts that did not call the engine; nil until there is one

	// appending orders appends: the schema, the encoder, the offsets, and what is taken out of the ring.
	appending  sync.Mutex
	ringSchema *batch.MessageSchema
	draining   atomic.Bool // who has it takes puts over
	encoder    *batch.Encoder
	compressor *batch.Compressor // of log entries; nil for none
	fits       *arrow.Schema     // of a batch that had just the columns of fitted
	fitted     *arrow.Schema
	declared   map[string]arrow.Field // nil unless only these columns may be appended

	mu            sync.Mutex // guards what follows
	closed        bool
	schema        *arrow.Schema // nil for a bucket without columns
	schemaVersion uint64
	tail          tail
	promised      int64 // end of the rows that came through the ring, which are acknowledged whatever the log says
	unflushed     int64 // bytes in the tail that are not in Lance
	tally         tally
	retained      struct{ rows, bytes int64 } // that retention has removed
	checkpoint    int64                       // rows below it are durably in Lance
	flushed       chan struct{}               // closed at the end of each flush
	flushErr      error                       // of the last flush
	moved         chan struct{}               // closed at the next append; nil when nobody waits for one
}

// Open opens the bucket in the directory dir, which is created if missing, and
// recovers what a crash left.
func Open(dir string, opts Options) (*Bucket, error) {
	b, err := openBucket(dir, opts)
	err = lance.Advised(err)
	if err != nil && opts.Metrics != nil {
		opts.Metrics.OpenFailed(KindOf(err))
	}
	return b, err
}

func openBucket(dir string, opts Options) (*Bucket, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	dir, err := statefile.RealPath(dir)
	if err != nil {
		return nil, fmt.Errorf("engine: path of bucket: %w", err)
	}
	if !utf8.ValidString(dir) || strings.ContainsFunc(dir, unicode.IsControl) {
		return nil, &engine.OptionError{Faults: []string{fmt.Sprintf("path: want UTF-8 without control characters, which Lance refuses, got %q", dir)}}
	}
	opts.complete()
	if err := lance.Spare(); err != nil {
		return nil, err
	}
	if err := opts.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("engine: create bucket: %w", err)
	}
	if err := layout.CheckForeign(dir); err != nil {
		return nil, err
	}
	lock, err := statefile.Hold(dir)
	if err != nil {
		return nil, err
	}
	return openLocked(dir, opts, lock)
}

// openLocked opens a bucket with options that are complete, and takes over its
// lock.
func openLocked(dir string, opts Options, lock *statefile.Lock) (*Bucket, error) {
	began := time.Now()
	b := &Bucket{
		opts:    opts,
		home:    statefile.Held(dir, opts.FS, lock),
		logger:  opts.Logger.With("bucket", dir),
		kick:    make(chan struct{}, 1),
		tidy:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		packed:  make(chan struct{}, 1),
		rung:    make(chan struct{}, 1),
		tight:   make(chan struct{}, 1),
		flushed: make(chan struct{}),
	}
	b.home.OnRefusal(b.refuse)
	b.times = timesIn(b.home.FS, dir, opts.RetentionAge)
	b.pages = table.NewPages(b.pageRoom)
	b.share = opts.Budget.Join(func() { signal(b.tight) })
	if err := b.begin(began); err != nil {
		return nil, errors.Join(err, b.release(false), b.home.Undo())
	}
	b.inBackground(b.memoryLoop)
	b.inBackground(b.ringLoop)
	b.inBackground(b.flushLoop)
	b.inBackground(b.compactLoop)
	return b, nil
}

// begin recovers a bucket whose opening began then.
func (b *Bucket) begin(began time.Time) (err error) {
	defer engine.Contain(&err)
	if b.compressor, err = batch.NewCompressor(b.opts.WALCompression); err != nil {
		return err
	}
	if err := b.recover(); err != nil {
		return err
	}
	if err := b.home.Sign(); err != nil { // not before: a bucket that is refused is left as it is
		b.logger.Warn("the lock does not say who holds it", "error", err)
	}
	b.recoverTimes()
	b.opened(began)
	return nil
}

// SetBell has f called where that is asked for: with the number of rows that were
// acknowledged since the call before, at first since there are any, and whether no
// more will be, as the log failed or was closed. nil for none. f may be called on any
// goroutine and must not wait.
func (b *Bucket) SetBell(f func(rows int64, over bool)) { b.alarm.set(f) }

// Notify rings the bell once, as soon as rows rows are acknowledged or no more will
// be: at once if that is so already. Of several calls before it rings the one for the
// fewest rows counts.
func (b *Bucket) Notify(rows int64) {
	_ = b.catchUp(true) // or the ring is taken over a little later
	b.alarm.arm(rows)
	b.alarm.advance(b.acknowledgedRows())
	// A bucket whose table failed takes no more rows, but its log acknowledges those that it has.
	if b.log != nil && b.log.Err() != nil {
		b.alarm.end(b.acknowledgedRows())
	}
}

// Acknowledged is the number of acknowledged rows, which are the visible ones. It
// does not wait: rows in the ring may be missing while the bucket is changed.
func (b *Bucket) Acknowledged() int64 {
	_ = b.catchUp(true)
	return b.acknowledgedRows()
}

func (b *Bucket) acknowledgedRows() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.visible()
}

// Wait waits until rows rows are acknowledged, the bucket is poisoned, or ctx
// is done.
func (b *Bucket) Wait(ctx context.Context, rows int64) error {
	_ = b.catchUp(true) // or the ring is taken over a little later
	if b.log == nil {
		return b.waitTail(ctx, rows)
	}
	if b.acknowledgedRows() >= rows {
		return nil
	}
	err := b.log.Wait(ctx, rows)
	if errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrClosed) {
		return b.writeError(err)
	}
	return err
}

// waitTail is Wait for a bucket without a log.
func (b *Bucket) waitTail(ctx context.Context, rows int64) error {
	for {
		b.mu.Lock()
		if b.tail.next >= rows {
			b.mu.Unlock()
			return nil
		}
		if b.moved == nil {
			b.moved = make(chan struct{})
		}
		moved := b.moved
		b.mu.Unlock()
		select {
		case <-moved:
		case <-b.home.Refused():
			return b.writeFault()
		case <-b.stop:
			return engine.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Schema returns the columns of the bucket, nil when it has none, and a number
// that changes with them.
func (b *Bucket) Schema() (*arrow.Schema, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.schema, b.schemaVersion
}

// Close flushes and closes the bucket. It is closed whatever is returned; the
// error is that of the last flush.
func (b *Bucket) Close() error {
	if b.closing.Swap(true) {
		return engine.ErrClosed
	}
	close(b.stop)
	b.table.Stop()
	b.workers.Wait()
	err := b.settleAll()
	b.appending.Lock()
	defer b.appending.Unlock()
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	b.table.Growing.Lock()
	defer b.table.Growing.Unlock()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	acknowledged := b.acknowledgedRows()
	err = errors.Join(err, b.release(err == nil), b.home.Release())
	b.alarm.end(acknowledged)
	return err
}

// settleAll brings everything into the table before the bucket is closed.
func (b *Bucket) settleAll() (err error) {
	defer engine.Contain(&err)
	if err := b.Broken(); err != nil {
		return err
	}
	b.lockAppends()
	defer b.appending.Unlock()
	if b.log != nil {
		if failed := b.log.Sync(background); failed != nil {
			err = b.writeError(failed)
		}
	}
	return errors.Join(err, b.flush(false))
}

// release lets go of everything that recover or Open took, but for the lock; flushed
// says that all rows in memory are in the table.
func (b *Bucket) release(flushed bool) error {
	var faults []error
	for _, let := range []func() error{
		b.closeLog,
		// After the log has written, and while no other opener can have a ring.
		func() error { return b.closeRing(flushed) },
		b.forgetRows,
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

func (b *Bucket) closeLog() error {
	if b.log == nil {
		return nil
	}
	return b.log.Close()
}

func (b *Bucket) closeTable() error {
	if b.table == nil {
		return nil
	}
	return b.table.Close()
}

// forgetRows gives back what the rows in memory take.
func (b *Bucket) forgetRows() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tail.drop(len(b.tail.chunks))
	b.pages.Close()
	b.share.Leave()
	return nil
}

func (b *Bucket) walPath() string { return filepath.Join(b.home.Path, layout.LogDir) }

// writable returns the reason why the bucket takes no writes.
func (b *Bucket) writable() error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.writeFault(); err != nil {
		return err
	}
	return lance.Spare()
}

// writeFault returns what made the bucket refuse writes, nil if nothing did.
func (b *Bucket) writeFault() error {
	if err := b.home.Fault(); err != nil {
		return err
	}
	if b.log != nil {
		if cause := b.log.Err(); cause != nil {
			return b.writeError(cause)
		}
	}
	return nil
}

// refuse is called when the bucket refuses writes from now on.
func (b *Bucket) refuse(cause error) {
	if r := b.ring.Load(); r != nil {
		r.Hold(true) // so that puts are told
	}
	b.logger.Error("bucket refuses writes", "cause", cause)
}

func (b *Bucket) writeError(cause error) error {
	if errors.Is(cause, wal.ErrClosed) {
		return engine.ErrClosed
	}
	return statefile.Refusal(cause)
}
