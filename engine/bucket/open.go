package bucket

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/retention"
	"github.com/persisting/persisting/engine/statefile"
)

// Open opens the bucket in the directory dir, which is created if missing, and
// recovers what a crash left.
func Open(dir string, opts options.Options) (*Bucket, error) {
	b, err := openBucket(dir, opts)
	err = lance.Advised(err)
	if err != nil && opts.Metrics != nil {
		opts.Metrics.OpenFailed(KindOf(err))
	}
	return b, err
}

func openBucket(dir string, opts options.Options) (*Bucket, error) {
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
	// From here on the directory may be made or locked; what is wrong with the options or the path
	// was said before.
	opts.Complete()
	if err := lance.Spare(); err != nil {
		return nil, err
	}
	if err := opts.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("engine: create bucket: %w", err)
	}
	// Before the lock, which would leave a file in a directory that is not the bucket's.
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
func openLocked(dir string, opts options.Options, lock *statefile.Lock) (*Bucket, error) {
	began := time.Now()
	b := assemble(newCore(statefile.Held(dir, opts.FS, lock), opts))
	if err := b.begin(began); err != nil {
		// Not flushed, whatever was read: the log has it still, and the ring what came last.
		return nil, errors.Join(err, b.release(false), b.home.Undo())
	}
	b.inBackground(b.rows.memoryLoop)
	b.inBackground(b.ingest.ringLoop)
	b.inBackground(b.flusher.flushLoop)
	b.inBackground(b.upkeep.compactLoop)
	// So that the first flush does not wait for it. The puts before it do not need it.
	lance.Preload()
	return b, nil
}

// assemble makes a bucket of its parts.
func assemble(c *core) *Bucket {
	rs := newRows(c)
	bounds := retention.Bounds{Rows: c.opts.RetentionRows, Bytes: c.opts.RetentionBytes, Age: c.opts.RetentionAge}
	fl := &flusher{core: c, rows: rs, flushed: make(chan struct{}), retention: retention.New(c.home.FS, c.home.Path, bounds)}
	in := &ingest{core: c, rows: rs, flusher: fl, drainRequested: make(chan struct{}, 1)}
	b := &Bucket{
		core: c, rows: rs, flusher: fl, ingest: in,
		columns: &Columns{core: c, rows: rs, flusher: fl, ingest: in},
		upkeep:  &upkeep{core: c, rows: rs, flusher: fl},
	}
	b.tasks = newTasks(b)
	c.panicked = b.Break
	// Whatever part finds that no more may be written says so to the directory, and this is where
	// all of the bucket hears of it: the parts need not know each other for that.
	c.home.OnRefusal(b.refuse)
	return b
}

// begin recovers a bucket whose opening began then.
func (b *Bucket) begin(began time.Time) (err error) {
	defer engine.Contain(&err)
	if b.ingest.compressor, err = batch.NewCompressor(b.opts.WALCompression); err != nil {
		return err
	}
	op := &opening{core: b.core, rows: b.rows, flusher: b.flusher, ingest: b.ingest, tasks: b.tasks, recovered: &b.recovered}
	if err := op.recover(); err != nil {
		return err
	}
	b.consumers = op.consumers
	if err := b.home.Sign(); err != nil { // not before: a bucket that is refused is left as it is
		b.logger.Warn("the lock does not say who holds it", "error", err)
	}
	b.upkeep.recoverTimes()
	b.opened(began)
	return nil
}
