package bucket

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tasks"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// survey is what is in the directory of a bucket that is being opened, and can be
// opened. Making it changes nothing.
type survey struct {
	isNew         bool             // nothing is there
	consumersLost bool             // a salvage forgets what they committed
	marks         *journal.Reading // nil for none
	checkpoint    int64            // the rows below are in the table

	log     *wal.Reading // nil for none
	lostLog bool         // it is gone, and a salvage goes on without
	rows    []survivors  // that the log has behind the table

	preamble  []byte       // of entries
	entries   []ring.Entry // that the ring has behind the log
	hasRing   bool
	ringFault error // that a salvage puts up with

	end    int64         // of all rows
	schema *arrow.Schema // of the bucket with these rows
	seen   *arrow.Schema // of the last of them
}

func (s *survey) release() {
	for _, r := range s.rows {
		r.rec.Release()
	}
	s.rows = nil
}

// survey finds what the bucket is opened with, or what keeps it from being opened,
// which is not the case for a salvage where only that is lost which is damaged.
func (op *opening) survey() (*survey, error) {
	s := &survey{}
	for _, look := range []func(*survey) error{op.lookAtIdentity, op.lookAtTable, op.lookAtConsumers, op.lookAtMarks, op.lookAtLog, op.lookAtRing} {
		if err := look(s); err != nil {
			return s, err
		}
	}
	// A bucket never has fewer rows than it once had on disk.
	// Counted at the very end, as each of table, log and ring may have the last of them.
	if due := op.table.Marker().Mark().Rows; s.end < due {
		return s, fmt.Errorf("%w: the rows %d to %d were in the table, and are neither there nor in the log", engine.ErrCorrupt, s.end, due-1)
	}
	return s, nil
}

// lookAtIdentity reads whose directory it is. bucket.json is the first file that is made, so a directory that has others has had it,
// and without it the log cannot be told from that of another bucket.
func (op *opening) lookAtIdentity(s *survey) (err error) {
	path := op.identityPath()
	op.id, err = layout.ReadIdentity(op.home.FS, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, part := range []string{table.MarkFile, layout.LogDir} {
		if data := filepath.Join(op.home.Path, part); exists(data) {
			return fmt.Errorf("%w: %s is there and %s is not", engine.ErrCorrupt, data, path)
		}
	}
	if data := filepath.Join(op.home.Path, table.Dir); lance.Exists(data) { // without a version, Lance was making it when its directory was removed
		return fmt.Errorf("%w: %s is there and %s is not", engine.ErrCorrupt, data, path)
	}
	// Random, so that no two buckets have the same: their logs and rings tell each other apart by
	// it.
	if _, err := rand.Read(op.id[:]); err != nil {
		return fmt.Errorf("engine: make identity: %w", err)
	}
	s.isNew = true
	return nil
}

// lookAtTable finds the newest sound version of the table.
func (op *opening) lookAtTable(s *survey) (err error) {
	if op.table, err = table.Look(op.home, op.tableOptions()); err != nil {
		return err
	}
	found := op.table.Found()
	s.checkpoint, s.schema = found.Rows, found.Schema
	s.end = s.checkpoint
	return nil
}

// lookAtConsumers reads what consumers committed, without which they would begin anew and see rows twice.
func (op *opening) lookAtConsumers(s *survey) error {
	op.consumers = layout.Consumers(op.home.FS, op.home.Path, op.table.Marker())
	_, err := op.consumers.All()
	if errors.Is(err, engine.ErrCorrupt) && op.salvages() {
		op.logger.Error("a damaged file is begun anew", "error", err)
		s.consumersLost = true
		err = nil
	}
	return err
}

// lookAtMarks reads what tasks have consumed.
func (op *opening) lookAtMarks(s *survey) (err error) {
	s.marks, err = op.tasks.Read(op.id, op.table)
	return err
}

// lookAtLog reads the rows of the log that the table does not have.
func (op *opening) lookAtLog(s *survey) error {
	// A log that the options do not ask for is read as well: it may have rows from an opening that did.
	_, err := os.Stat(op.walPath())
	if errors.Is(err, fs.ErrNotExist) && !op.opts.EnableWAL && !op.table.Marker().Mark().Logging {
		return nil
	}
	var d batch.Decoder
	defer d.Close()
	log, report, err := wal.Read(op.logOptions(), s.checkpoint, func(e segment.Entry) error { return op.survive(s, &d, e) })
	if err != nil {
		return fmt.Errorf("engine: open log: %w", err)
	}
	// Read and not opened: nothing of it is changed before all the rest was found sound.
	s.log = log
	if s.lostLog = op.table.Marker().Mark().Logging && report.Segments == 0; s.lostLog && !op.salvages() {
		return fmt.Errorf("%w: there is no segment in %s: the rows from %d on, if there were any, are lost", segment.ErrCorrupt, op.walPath(), s.checkpoint)
	}
	return nil
}

// survive keeps the rows of a log entry that do not come before the end.
func (op *opening) survive(s *survey, d *batch.Decoder, e segment.Entry) error {
	// Decoded now, though the table is not even open: an entry that cannot be is damage, and is to
	// be found before anything is changed.
	rec, err := op.decodeFitting(s, d, e)
	if err != nil {
		return err
	}
	hole := e.First - s.end
	if hole > 0 && !op.salvages() {
		rec.Release()
		return fmt.Errorf("%w: the log lacks the %d rows from offset %d on", engine.ErrCorrupt, hole, s.end)
	}
	if hole < 0 { // a flush has taken a part of the entry
		part := rec.NewSlice(-hole, rec.NumRows())
		rec.Release()
		rec = part
	}
	// In a salvage there may be a hole before it, which the replay fills with rows of nulls: those
	// behind keep their offsets.
	first := max(e.First, s.end)
	s.rows = append(s.rows, survivors{first, rec})
	s.end = first + rec.NumRows()
	return nil
}

// decodeFitting is decodeEntry of one whose columns fit those of the entries before.
// The caller releases them.
func (op *opening) decodeFitting(s *survey, d *batch.Decoder, e segment.Entry) (arrow.Record, error) {
	rec, err := decodeEntry(d, e)
	if err != nil {
		return nil, err
	}
	// The decoder gives all entries of one preamble the same schema, so the columns are compared once for each preamble.
	if rec.Schema() == s.seen {
		return rec, nil
	}
	c, err := batch.Unify(s.schema, rec.Schema())
	if err == nil && c.Schema == nil {
		err = batch.NoColumn()
	}
	if err != nil {
		rec.Release()
		return nil, fmt.Errorf("%w: log entry at offset %d: %w", engine.ErrCorrupt, e.First, err)
	}
	s.schema, s.seen = c.Schema, rec.Schema()
	return rec, nil
}

// lookAtRing finds the puts that are not in the log. Without a log they are worth
// nothing after the end of the process.
func (op *opening) lookAtRing(s *survey) error {
	saved, err := ring.Load(op.ringPath(), op.id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, ring.ErrDamaged) {
		return fmt.Errorf("engine: recover puts: %w", err)
	}
	s.hasRing = true
	// What is older than the log's end was written to the log before it left the ring; Following
	// passes it over.
	if saved.Logged && s.log != nil {
		entries, gap := saved.Following(s.end)
		err = errors.Join(err, gap)
		var d batch.Decoder
		defer d.Close()
		for _, e := range entries {
			rec, err := op.decodeFitting(s, &d, segment.Entry{First: e.First, Rows: e.Rows, Preamble: saved.Preamble, Body: e.Message})
			if err != nil {
				return err
			}
			rec.Release() // decoded again when it is stored; here it counts that it can be
			s.end += e.Rows
		}
		s.preamble, s.entries = saved.Preamble, entries
	}
	if err != nil {
		s.ringFault = fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, op.ringPath(), err)
	}
	if op.salvages() {
		return nil
	}
	return s.ringFault
}

// opening recovers a bucket: it makes, of what is in the directory, what the parts of the bucket begin with.
type opening struct {
	*core
	rows      *rows
	flusher   *flusher
	ingest    *ingest
	tasks     *tasks.Tasks
	consumers *statefile.Register
	recovered *recovered
}

// logOptions are those of the bucket's log.
func (op *opening) logOptions() wal.Options {
	o := wal.Options{
		Dir:           op.walPath(),
		FS:            op.home.FS,
		Bucket:        op.id,
		SegmentBytes:  op.segmentBytes(),
		MaxEntryBytes: batch.MaxBytes,
		SyncInterval:  op.syncInterval(),
		Recovery:      wal.Strict,
		Standing:      op.table.Marker().Logging,
		OnAdvance:     op.rows.advance,
		Panicked:      func(cause error) { op.panicked(fmt.Errorf("%w: %w", engine.ErrPanic, cause)) },
		Logger:        op.logger.With("component", "wal"),
	}
	if op.salvages() {
		o.Recovery = wal.Salvage
	}
	if op.opts.EnableMetrics { // they are there by the time that something is appended
		o.Observer = wal.Observer{
			Wrote:  func(entries int, bytes int64) { op.metrics.LogWrote(entries, bytes) },
			Synced: func(took time.Duration) { op.metrics.LogSynced(took) },
		}
	}
	return o
}

// recovered is what the opening of a bucket found.
type recovered struct {
	rows             int64 // that it had then
	replayed, torn   int64 // rows that came from the log, bytes cut off it
	versionsSetAside int
	missing          []wal.Range // rows that a salvage did not find
}
