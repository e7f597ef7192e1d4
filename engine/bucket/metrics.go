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

// tally is what the metrics know of appends. The lock of rows guards it.
type tally struct {
	puts, bytes int64
	oldest      time.Time // when the oldest row came that is not in Lance, if there is one
}

// counted is an append that was counted.
type counted struct {
	bytes int64
	began time.Time // zero unless the append is one that is timed
}

// count counts an append of so many bytes. The caller holds rs.mu.
func (rs *rows) count(bytes int64) counted {
	c := counted{bytes: bytes}
	rs.tally.puts++
	rs.tally.bytes += bytes
	if rs.metrics != nil && rs.tally.puts%metrics.PutSample == 1 {
		c.began = time.Now()
	}
	return c
}

// uncount takes count back. The caller holds rs.mu.
func (rs *rows) uncount(c counted) {
	rs.tally.puts--
	rs.tally.bytes -= c.bytes
}

// acknowledged times a put that began then, if it is one that is timed.
func (c *core) acknowledged(began time.Time) {
	if !began.IsZero() {
		c.metrics.PutDone(time.Since(began))
	}
}

// opened gives a bucket that has been recovered its metrics.
func (b *Bucket) opened(began time.Time) {
	took := time.Since(began)
	b.recovered.rows = b.rows.tail.next
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
