package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/wal"
)

// recover brings the bucket to the state that was acknowledged before the last
// opener ended: the newest sound version of the table, and after it what the
// log holds. A bucket that is refused is left as it is, so that it is refused
// again, until a salvage is asked for: everything is looked at before anything is
// changed. Only a fault of the disk can come after that.
func (b *Bucket) recover() error {
	s, err := b.survey()
	defer s.release()
	if err != nil {
		return err
	}
	if s.isNew {
		if err := b.baptise(); err != nil {
			return err
		}
	} else if err := b.home.FS.SyncDir(b.home.Path); err != nil { // an earlier opener may have been killed before
		return fmt.Errorf("engine: sync directory: %w", err)
	}
	if s.consumersLost {
		if err := b.consumers.Forget(); err != nil {
			return err
		}
	}
	if err := b.recoverTable(); err != nil {
		return err
	}
	if err := b.replay(s.rows); err != nil {
		return err
	}
	if s.log != nil {
		if err := b.openLog(s); err != nil {
			return err
		}
	}
	if err := b.replayRing(s); err != nil {
		return err
	}
	if b.log == nil || b.opts.EnableWAL {
		return nil
	}
	return b.dropLog()
}

// baptise writes bucket.json for a new bucket.
func (b *Bucket) baptise() error {
	if err := layout.WriteIdentity(b.home.FS, b.identityPath(), b.id); err != nil {
		return err
	}
	// A directory above that this process may not read was there before.
	if err := b.home.FS.SyncDir(filepath.Dir(b.home.Path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("engine: write identity: %w", err)
	}
	return nil
}

// recoverTable opens the table at the version that the survey found, with its tags.
func (b *Bucket) recoverTable() error {
	if err := b.table.Recover(); err != nil {
		return err
	}
	b.recovered.versionsSetAside = b.table.SetAside()
	newest := b.table.Newest()
	if newest == nil {
		return nil
	}
	defer newest.Release()
	b.checkpoint = newest.NextRowID()
	b.tail.next = b.checkpoint
	b.setSchema(newest.Schema())
	return nil
}

func (b *Bucket) tableOptions() table.Options {
	o := table.Options{
		Config:   lance.Config{Compression: b.opts.Compression, ColumnCompression: b.opts.ColumnCompression},
		Salvage:  b.salvages(),
		Logger:   b.logger,
		Changed:  func() { signal(b.tidy) },
		Panicked: b.Break,
	}
	if b.opts.EnableMetrics { // they are there by the time that something is written
		o.Wrote = func(bytes int64) { b.metrics.TableWrote(bytes) }
	}
	return o
}

// logOptions are those of the bucket's log.
func (b *Bucket) logOptions() wal.Options {
	o := wal.Options{
		Dir:           b.walPath(),
		FS:            b.home.FS,
		Bucket:        b.id,
		SegmentBytes:  b.segmentBytes(),
		MaxEntryBytes: batch.MaxBytes,
		SyncInterval:  b.syncInterval(),
		Recovery:      wal.Strict,
		Standing:      b.table.Marker().Logging,
		OnAdvance:     b.advance,
		Panicked:      func(cause error) { b.Break(fmt.Errorf("%w: %w", engine.ErrPanic, cause)) },
		Logger:        b.logger.With("component", "wal"),
	}
	if b.salvages() {
		o.Recovery = wal.Salvage
	}
	if b.opts.EnableMetrics { // they are there by the time that something is appended
		o.Observer = wal.Observer{
			Wrote:  func(entries int, bytes int64) { b.metrics.LogWrote(entries, bytes) },
			Synced: func(took time.Duration) { b.metrics.LogSynced(took) },
		}
	}
	return o
}

// openLog opens the log that the survey has read.
func (b *Bucket) openLog(s *survey) error {
	if b.opts.WALSyncInterval == 0 {
		forSyncedPuts()
	}
	log, report, err := s.log.Open()
	if err != nil {
		return fmt.Errorf("engine: open log: %w", err)
	}
	b.log = log
	b.recovered.replayed, b.recovered.torn, b.recovered.missing = report.Rows, report.TornBytes, report.Missing
	if s.lostLog {
		missing := wal.Range{First: b.checkpoint, End: -1}
		b.recovered.missing = append(b.recovered.missing, missing)
		b.logger.Error("the log is gone", "rows", missing.String())
		if err := b.table.Marker().Logging(false); err != nil {
			return err
		}
	}
	if report.Rows > 0 || report.TornBytes > 0 {
		b.logger.Info("recovered from the log", "rows", report.Rows, "torn_bytes", report.TornBytes)
	}
	return nil
}

// leastProcs are Go's processors beside a log that syncs each entry: one is held by
// each thread that waits for the disk or for the next entry, and callers need more.
const leastProcs = 4

// spareBytes is how much garbage synced puts may leave at least before it is
// collected. The heap of a bucket is so small that this would happen every second
// otherwise, several times, and each time take processors that puts need.
const spareBytes = 16 << 20

// forSyncedPuts gives Go what they need, on a small machine above all. What it returns
// is kept, and never touched: it takes no memory but that of the garbage.
var forSyncedPuts = sync.OnceValue(func() []byte {
	if _, chosen := os.LookupEnv("GOMAXPROCS"); !chosen && runtime.GOMAXPROCS(0) < leastProcs {
		runtime.GOMAXPROCS(leastProcs)
	}
	return make([]byte, spareBytes)
})

// syncInterval is how long the log may leave an entry unsynced: less than asked
// for, where puts may stay in the ring before.
func (b *Bucket) syncInterval() time.Duration {
	if b.opts.WALSyncInterval < minSyncInterval {
		return b.opts.WALSyncInterval
	}
	return b.opts.WALSyncInterval - 2*ringInterval
}

// segmentBytes keeps the segments of a log that syncs each entry short, because
// the puts at a change of segments wait until the new one is on disk.
func (b *Bucket) segmentBytes() int64 {
	if b.opts.WALSyncInterval == 0 {
		return min(4<<20, b.opts.MaxWALBytes/4)
	}
	return min(16<<20, b.opts.MaxWALBytes/4)
}

// replay puts rows that the table lacks into the tail.
func (b *Bucket) replay(rows []survivors) error {
	for _, r := range rows {
		if hole := r.first - b.tail.next; hole > 0 {
			if err := b.fill(r.rec.Schema(), hole); err != nil {
				return err
			}
		}
		if err := b.enter(r.rec); err != nil {
			return err
		}
	}
	return nil
}

// enter puts a batch into the tail without writing it to the log.
func (b *Bucket) enter(rec arrow.Record) error {
	aligned, err := b.conform(rec, false)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.push(aligned)
	return nil
}

// fill puts rows that are null in every column where a salvaged log has a hole,
// so that the rows behind it keep their offsets.
func (b *Bucket) fill(schema *arrow.Schema, rows int64) error {
	columns := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		columns[i] = batch.NullArray(f, rows)
		defer columns[i].Release()
	}
	empty := array.NewRecord(schema, columns, rows)
	defer empty.Release()
	return b.enter(empty)
}

// dropLog moves what the log holds into Lance and removes the log.
func (b *Bucket) dropLog() error {
	if err := b.flush(false); err != nil {
		return err
	}
	if err := b.log.Close(); err != nil {
		return fmt.Errorf("engine: close log: %w", err)
	}
	b.log = nil
	if err := b.table.Marker().Logging(false); err != nil {
		return err
	}
	if err := b.home.Owned(); err != nil {
		return err
	}
	if err := os.RemoveAll(b.walPath()); err != nil {
		return fmt.Errorf("engine: remove log: %w", err)
	}
	return b.home.FS.SyncDir(b.home.Path)
}
