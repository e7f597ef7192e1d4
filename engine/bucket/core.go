package bucket

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
	"golang.org/x/sys/unix"
)

// core is what all parts of a bucket know: where it is, what it was asked to be, what it writes to, and whether it ends. What is in
// it is set while the bucket is opened, and does not change after that.
type core struct {
	opts     options.Options
	home     *statefile.Dir
	id       [16]byte
	logger   *slog.Logger
	metrics  *metrics.Bucket // nil if they are off
	log      *wal.Log        // nil without a log
	table    *table.Table    // what was flushed; nil until the opening has looked at it
	panicked func(cause error)

	flushRequested   chan struct{} // asks for a background flush
	compactRequested chan struct{} // asks for a background compaction
	stop             chan struct{} // closed when the bucket is
	closing          atomic.Bool
}

func newCore(home *statefile.Dir, opts options.Options) *core {
	return &core{
		opts:             opts,
		home:             home,
		logger:           opts.Logger.With("bucket", home.Path),
		flushRequested:   make(chan struct{}, 1),
		compactRequested: make(chan struct{}, 1),
		stop:             make(chan struct{}),
	}
}

func (c *core) closeLog() error {
	if c.log == nil {
		return nil
	}
	return c.log.Close()
}

func (c *core) closeTable() error {
	if c.table == nil {
		return nil
	}
	return c.table.Close()
}

func (c *core) walPath() string { return filepath.Join(c.home.Path, layout.LogDir) }

// writable returns the reason why the bucket takes no writes.
func (c *core) writable() error {
	if c.closing.Load() {
		return engine.ErrClosed
	}
	// After the question whether it is being closed: what the end of a bucket does to its log is no
	// fault to tell of.
	if err := c.writeFault(); err != nil {
		return err
	}
	// Descriptors run out between two calls as well, but a put that is refused here has done
	// nothing yet.
	return lance.Spare()
}

// writeFault returns what made the bucket refuse writes, nil if nothing did.
func (c *core) writeFault() error {
	if err := c.home.Fault(); err != nil {
		return err
	}
	if c.log != nil {
		if cause := c.log.Err(); cause != nil {
			return c.writeError(cause)
		}
	}
	return nil
}

// writeError is the error of a write that the log refused. A log that is closed says nothing of why; the bucket is being closed then.
func (c *core) writeError(cause error) error {
	if errors.Is(cause, wal.ErrClosed) {
		return engine.ErrClosed
	}
	return statefile.Refusal(cause)
}

// salvages says that what is damaged is given up.
func (c *core) salvages() bool { return c.opts.WALRecovery == "salvage" }

func (c *core) identityPath() string { return filepath.Join(c.home.Path, layout.IdentityFile) }

func (c *core) ringPath() string { return filepath.Join(c.home.Path, layout.RingFile) }

// walBytes is the size of the log, 0 without one. It is asked for each append, and takes no lock.
func (c *core) walBytes() int64 {
	if c.log == nil {
		return 0
	}
	return c.log.Size()
}

func (c *core) tableOptions() table.Options {
	o := table.Options{
		Config:   lance.Config{Compression: c.opts.Compression, ColumnCompression: c.opts.ColumnCompression},
		Salvage:  c.salvages(),
		Logger:   c.logger,
		Changed:  func() { signal(c.compactRequested) },
		Panicked: c.panicked,
	}
	if c.opts.EnableMetrics { // they are there by the time that something is written
		o.Wrote = func(bytes int64) { c.metrics.TableWrote(bytes) }
	}
	return o
}

// syncInterval is how long the log may leave an entry unsynced: less than asked
// for, where puts may stay in the ring before.
func (c *core) syncInterval() time.Duration {
	if c.opts.WALSyncInterval < minSyncInterval {
		return c.opts.WALSyncInterval
	}
	// A put is in the ring for one interval and may miss the next look by another: together with
	// the log's own, that is what was promised.
	return c.opts.WALSyncInterval - 2*ringInterval
}

// segmentBytes keeps the segments of a log that syncs each entry short, because
// the puts at a change of segments wait until the new one is on disk.
func (c *core) segmentBytes() int64 {
	if c.opts.WALSyncInterval == 0 {
		return min(4<<20, c.opts.MaxWALBytes/4)
	}
	return min(16<<20, c.opts.MaxWALBytes/4)
}

// acknowledged times a put that began then, if it is one that is timed.
func (c *core) acknowledged(began time.Time) {
	if !began.IsZero() {
		c.metrics.PutDone(time.Since(began))
	}
}

// failed counts a call that failed; a caller that did not want to wait did not.
func (c *core) failed(o metrics.Operation, err error) {
	if err != nil && !errors.Is(err, engine.ErrWouldBlock) {
		c.metrics.Failed(o, KindOf(err))
	}
}

// ended tells the metrics and the log how work on the table ended that began at
// the given time. It was asked for, or the engine's own idea.
func (c *core) ended(o metrics.Operation, asked bool, began time.Time, err error) {
	took := time.Since(began)
	level, text := slog.LevelDebug, string(o)+" done"
	attrs := []slog.Attr{slog.String("operation", string(o)), slog.Bool("asked", asked), slog.Duration("took", took)}
	if !asked { // the caller that has called from this thread, if there is one, wanted something else
		attrs = append(attrs, slog.Int("thread", unix.Gettid()))
	}
	switch {
	case err != nil:
		err = lance.Advised(err)
		c.failed(o, err)
		text = string(o) + " failed"
		attrs = append(attrs, slog.Any("error", err))
		switch KindOf(err) {
		case metrics.Closed, metrics.Invalid, metrics.NotFound: // the caller knows
		default:
			level = slog.LevelError
		}
	case o == metrics.Flush:
		c.metrics.FlushDone(took)
	case o == metrics.Compaction:
		c.metrics.CompactionDone(took)
	case o == metrics.Index:
		c.metrics.IndexDone(took)
	}
	// One message for each piece of work, whatever came of it: spans are made of these, and need
	// its length and its end.
	c.logger.LogAttrs(context.Background(), level, text, attrs...)
	c.countVersions()
}

// countVersions tells the metrics how many versions of the table there are.
func (c *core) countVersions() {
	if c.metrics == nil {
		return
	}
	files, err := os.ReadDir(filepath.Join(c.table.Path(), "_versions"))
	if err != nil {
		return // there is no table yet
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".manifest") {
			n++
		}
	}
	c.metrics.Versions(n)
}

// countRead is what counts the bytes that are read, nil where metrics are off.
func (c *core) countRead() func(bytes int64) {
	if c.metrics == nil {
		return nil
	}
	return c.metrics.ReadBytes
}

// signal asks for work on a channel with room for one token: what is asked for twice before it began is done once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var background = context.Background()

const (
	// ringInterval is how long a put stays in the ring.
	ringInterval = 20 * time.Millisecond
	// minSyncInterval is that of a log beside which a put may stay there.
	minSyncInterval = 10 * ringInterval
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
