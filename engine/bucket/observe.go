package bucket

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
	"golang.org/x/sys/unix"
)

// tally is what the metrics know of appends. The bucket's lock guards it.
type tally struct {
	puts, bytes int64
	oldest      time.Time // when the oldest row came that is not in Lance, if there is one
}

// counted is an append that was counted.
type counted struct {
	bytes int64
	began time.Time // zero unless the append is one that is timed
}

// count counts an append of so many bytes. The caller holds b.mu.
func (b *Bucket) count(bytes int64) counted {
	c := counted{bytes: bytes}
	b.tally.puts++
	b.tally.bytes += bytes
	if b.metrics != nil && b.tally.puts%metrics.PutSample == 1 {
		c.began = time.Now()
	}
	return c
}

// uncount takes count back. The caller holds b.mu.
func (b *Bucket) uncount(c counted) {
	b.tally.puts--
	b.tally.bytes -= c.bytes
}

// acknowledged times a put that began then, if it is one that is timed.
func (b *Bucket) acknowledged(began time.Time) {
	if !began.IsZero() {
		b.metrics.PutDone(time.Since(began))
	}
}

// opened gives a bucket that has been recovered its metrics.
func (b *Bucket) opened(began time.Time) {
	took := time.Since(began)
	b.recovered.rows = b.tail.next
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
		_ = b.catchUp(true) // or the next scrape has it
	}
	s := b.state()
	out := metrics.State{
		Puts:        s.tally.puts,
		PutRecords:  s.checkpoint + s.unflushedRows - b.recovered.rows,
		PutBytes:    s.tally.bytes,
		PageHits:    s.pageHits,
		PageMisses:  s.pageMisses,
		RetainRows:  s.retainedRows,
		RetainBytes: s.retainedBytes,
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

// failed counts a call that failed; a caller that did not want to wait did not.
func (b *Bucket) failed(o metrics.Operation, err error) {
	if err != nil && !errors.Is(err, engine.ErrWouldBlock) {
		b.metrics.Failed(o, KindOf(err))
	}
}

// ended tells the metrics and the log how work on the table ended that began at
// the given time. It was asked for, or the engine's own idea.
func (b *Bucket) ended(o metrics.Operation, asked bool, began time.Time, err error) {
	took := time.Since(began)
	level, text := slog.LevelDebug, string(o)+" done"
	attrs := []slog.Attr{slog.String("operation", string(o)), slog.Bool("asked", asked), slog.Duration("took", took)}
	if !asked { // the caller that has called from this thread, if there is one, wanted something else
		attrs = append(attrs, slog.Int("thread", unix.Gettid()))
	}
	switch {
	case err != nil:
		err = lance.Advised(err)
		b.failed(o, err)
		text = string(o) + " failed"
		attrs = append(attrs, slog.Any("error", err))
		switch KindOf(err) {
		case metrics.Closed, metrics.Invalid, metrics.NotFound: // the caller knows
		default:
			level = slog.LevelError
		}
	case o == metrics.Flush:
		b.metrics.FlushDone(took)
	case o == metrics.Compaction:
		b.metrics.CompactionDone(took)
	case o == metrics.Index:
		b.metrics.IndexDone(took)
	}
	b.logger.LogAttrs(context.Background(), level, text, attrs...)
	b.countVersions()
}

// countVersions tells the metrics how many versions of the table there are.
func (b *Bucket) countVersions() {
	if b.metrics == nil {
		return
	}
	files, err := os.ReadDir(filepath.Join(b.table.Path(), "_versions"))
	if err != nil {
		return // there is no table yet
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".manifest") {
			n++
		}
	}
	b.metrics.Versions(n)
}

// KindOf is the kind of an error of this package.
func KindOf(err error) metrics.Kind {
	var (
		options *engine.OptionError
		schema  *engine.SchemaError
		locked  *engine.LockedError
		gap     *wal.GapError
	)
	switch {
	case errors.As(err, &schema):
		return metrics.Schema
	case errors.As(err, &options), errors.Is(err, engine.ErrMessage), errors.Is(err, engine.ErrName), errors.Is(err, engine.ErrInvalid), errors.Is(err, wal.ErrTooLarge):
		return metrics.Invalid
	case errors.Is(err, engine.ErrNotFound), errors.Is(err, engine.ErrNoIndex):
		return metrics.NotFound
	case errors.Is(err, engine.ErrClosed):
		return metrics.Closed
	case errors.As(err, &locked):
		return metrics.Locked
	case errors.Is(err, engine.ErrCorrupt), errors.Is(err, wal.ErrCorrupt), errors.Is(err, wal.ErrForeign), errors.As(err, &gap):
		return metrics.Corrupt
	case errors.Is(err, engine.ErrPoisoned):
		return metrics.Poisoned
	}
	return metrics.Storage
}
