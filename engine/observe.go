package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
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
		b.metrics = b.opts.Metrics.Bucket(b.dir, b.metricsState)
		r := &b.recovered
		b.metrics.Recovered(r.replayed, r.torn, r.versionsSetAside, wal.Known(r.missing))
		b.countVersions()
	}
	b.logger.Debug("opened", "operation", "recovery", "took", took, "rows", b.recovered.rows, "replayed", b.recovered.replayed)
}

// metricsState is the state of the bucket for a scrape.
func (b *Bucket) metricsState() metrics.State {
	s := b.state()
	out := metrics.State{
		Puts:        s.tally.puts,
		PutRecords:  s.checkpoint + s.unflushedRows - b.recovered.rows,
		PutBytes:    s.tally.bytes,
		PageHits:    s.pageHits,
		PageMisses:  s.pageMisses,
		BufferRows:  s.unflushedRows,
		BufferBytes: s.unflushedBytes,
		WALBytes:    b.walBytes(),
		Rows:        s.rows + s.unflushedRows,
		Fragments:   s.fragments,
		TableBytes:  s.tableBytes,
		RecentBytes: s.memory - s.pageBytes - s.unflushedBytes,
		PageBytes:   s.pageBytes,
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
	if err != nil && !errors.Is(err, ErrWouldBlock) {
		b.metrics.Failed(o, KindOf(err))
	}
}

// ended tells the metrics and the log how work on the table ended that began at
// the given time.
func (b *Bucket) ended(o metrics.Operation, began time.Time, err error) {
	took := time.Since(began)
	level, text := slog.LevelDebug, string(o)+" done"
	attrs := []slog.Attr{slog.String("operation", string(o)), slog.Duration("took", took)}
	switch {
	case err != nil:
		b.failed(o, err)
		text = string(o) + " failed"
		attrs = append(attrs, slog.Any("error", err))
		if !errors.Is(err, ErrClosed) {
			level = slog.LevelError
		}
	case o == metrics.Flush:
		b.metrics.FlushDone(took)
	default:
		b.metrics.CompactionDone(took)
	}
	b.logger.LogAttrs(context.Background(), level, text, attrs...)
	b.countVersions()
}

// countVersions tells the metrics how many versions of the table there are.
func (b *Bucket) countVersions() {
	if b.metrics == nil {
		return
	}
	files, err := os.ReadDir(filepath.Join(b.tablePath(), "_versions"))
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
		options *OptionError
		schema  *SchemaError
		locked  *LockedError
		gap     *wal.GapError
	)
	switch {
	case errors.As(err, &schema):
		return metrics.Schema
	case errors.As(err, &options), errors.Is(err, ErrMessage), errors.Is(err, ErrName), errors.Is(err, wal.ErrTooLarge):
		return metrics.Invalid
	case errors.Is(err, ErrNotFound):
		return metrics.NotFound
	case errors.Is(err, ErrClosed):
		return metrics.Closed
	case errors.As(err, &locked):
		return metrics.Locked
	case errors.Is(err, ErrCorrupt), errors.Is(err, wal.ErrCorrupt), errors.Is(err, wal.ErrForeign), errors.As(err, &gap):
		return metrics.Corrupt
	case errors.Is(err, ErrPoisoned):
		return metrics.Poisoned
	}
	return metrics.Storage
}
