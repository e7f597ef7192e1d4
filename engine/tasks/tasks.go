package tasks

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/marks"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/wal"
)

// Options says how marks are kept.
type Options struct {
	Home         *statefile.Dir // of the bucket
	Salvage      bool           // what is damaged is given up
	SyncInterval time.Duration  // as of the bucket's log
	Logger       *slog.Logger
	Panicked     func(cause error) // is told of a panic in a goroutine of the journal
}

// Tasks is what tasks have consumed of a bucket. There is no journal until something is marked.
type Tasks struct {
	o        Options
	rows     Rows
	presence presence
	bucket   [16]byte     // its identity
	table    *table.Table // nil where nothing can be marked
	closed   atomic.Bool

	mu      sync.Mutex // guards what follows, and the order of the records
	marks   marks.Marks
	journal *journal.Journal // nil while nothing was marked
}

// New is what tasks have consumed of rows: nothing, until it is read.
func New(rows Rows, o Options) *Tasks {
	return &Tasks{o: o, rows: rows, presence: presence{rows: rows}}
}

const (
	// segmentBytes is the size of a segment of the journal.
	segmentBytes = 4 << 20
	// journalBytes is the size of the journal at which the marks are written as a whole: what an open has to read stays small, and
	// few marks wait for a snapshot.
	journalBytes = 16 << 20
	// MaxName is the most bytes that the name of a task has.
	MaxName = 1 << 10
)

// Mark notes that a task has consumed the rows at some offsets, which must exist or have existed.
func (t *Tasks) Mark(task string, offsets []int64) error {
	if err := t.markable(task, offsets); err != nil || len(offsets) == 0 {
		return err
	}
	return t.note(marks.MarkRecord(task, marks.RangesOf(offsets)))
}

// Unmark forgets all that a task has consumed.
func (t *Tasks) Unmark(task string) error {
	if err := t.markable(task, nil); err != nil {
		return err
	}
	return t.note(marks.UnmarkRecord(task))
}

// Clear removes the rows at some offsets, and that any task has consumed them; it returns how many there were. Those that were
// removed before are passed over. The others keep their offsets. The rows go first: a crash between the two leaves marks of rows
// that are gone, which nobody is asked about again; the other way round it would leave rows that each task gets once more.
func (t *Tasks) Clear(offsets []int64) (int64, error) {
	if err := t.existed(offsets); err != nil || len(offsets) == 0 {
		return 0, err
	}
	ranges := marks.RangesOf(offsets)
	removed, err := t.rows.DeleteRows(offsets)
	if err != nil {
		return 0, err
	}
	t.presence.remove(ranges)
	t.mu.Lock()
	none := t.journal == nil
	t.mu.Unlock()
	if none { // nothing was marked ever
		return removed, nil
	}
	return removed, t.note(marks.ClearRecord(ranges))
}

// Marked returns how many rows each task has consumed.
func (t *Tasks) Marked() (map[string]int64, error) {
	if t.closed.Load() {
		return nil, engine.ErrClosed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.marks.Counts(), nil
}

// markable returns the reason why nothing can be marked at some offsets for a task.
func (t *Tasks) markable(task string, offsets []int64) error {
	if task == "" || len(task) > MaxName {
		return fmt.Errorf("%w: the name of a task has %d bytes, want 1 to %d", engine.ErrName, len(task), MaxName)
	}
	return t.existed(offsets)
}

// existed returns the reason why nothing can be written of the rows at some offsets.
func (t *Tasks) existed(offsets []int64) error {
	if err := t.rows.Writable(); err != nil || len(offsets) == 0 {
		return err
	}
	end, err := t.rows.Renew(false)
	if err != nil {
		return err
	}
	if least, most := slices.Min(offsets), slices.Max(offsets); least < 0 || most >= end {
		return fmt.Errorf("%w: offsets %d to %d, the rows are 0 to %d", engine.ErrNotFound, least, most, end-1)
	}
	return nil
}

// note makes a change of the marks, and returns when it is acknowledged.
func (t *Tasks) note(record []byte) error {
	wait, err := func() (func() error, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.append(record)
	}()
	return t.acknowledged(wait, err)
}

// append makes a change of the marks and writes it; t.mu is held, so that the records have the order in which the marks were made.
func (t *Tasks) append(record []byte) (wait func() error, err error) {
	if t.closed.Load() { // or a mark that was on its way would make the journal of a bucket that is closed
		return nil, engine.ErrClosed
	}
	if t.journal == nil {
		if err := t.begin(); err != nil {
			return nil, err
		}
	}
	if t.journal.Size() > journalBytes {
		if err := t.snapshot(); err != nil {
			return nil, err
		}
	}
	if wait, err = t.journal.Append(record); err != nil {
		return nil, err
	}
	return wait, t.marks.Replay(record)
}

// snapshot writes the marks as a whole, without those of the rows that are gone from the front.
func (t *Tasks) snapshot() error { return t.journal.Snapshot(t.marks.Snapshot(t.first())) }

// acknowledged waits for a record that was written. One that failed may be on the disk or not, so the bucket takes no more.
func (t *Tasks) acknowledged(wait func() error, err error) error {
	if err == nil {
		err = wait()
	}
	if errors.Is(err, wal.ErrClosed) || errors.Is(err, engine.ErrClosed) {
		return engine.ErrClosed
	}
	if err != nil {
		return t.o.Home.Refuse(err)
	}
	return nil
}

// first is the offset of the first row that is left in the table. Where it cannot be told, marks are kept that nobody needs.
func (t *Tasks) first() int64 {
	newest := t.table.Newest()
	if newest == nil {
		return 0
	}
	defer newest.Release()
	_, first, _, err := newest.Place(0)
	if err != nil {
		return 0
	}
	return first
}

// begin makes the journal of a bucket in which nothing was marked; t.mu is held.
func (t *Tasks) begin() error {
	reading, err := journal.Read(t.journalOptions(), &t.marks)
	if err != nil {
		return err
	}
	begun, err := reading.Open()
	if err != nil {
		return err
	}
	// The mark of the table says that there is one, and so it has to be there before.
	err = errors.Join(begun.Snapshot(t.marks.Snapshot(0)), t.o.Home.FS.SyncDir(t.o.Home.Path))
	if err == nil {
		err = t.table.Marker().Marked().Note(true)
	}
	if err != nil {
		return errors.Join(err, begun.Close())
	}
	t.journal = begun
	return nil
}

// Read reads what the last opener of the bucket with that identity and table has kept; nil where there is nothing. It changes
// nothing.
func (t *Tasks) Read(bucket [16]byte, of *table.Table) (*journal.Reading, error) {
	t.bucket, t.table = bucket, of
	due := of.Marker().Mark().Marked
	if _, err := os.Stat(t.path()); !due && err != nil {
		return nil, nil
	}
	reading, err := journal.Read(t.journalOptions(), &t.marks)
	if err != nil {
		return nil, err
	}
	switch {
	case !reading.Empty():
		return reading, nil
	case !due: // it was being made
		return nil, nil
	case t.o.Salvage:
		return reading, nil
	}
	return nil, fmt.Errorf("%w: %s is gone, with the rows that tasks consumed", engine.ErrCorrupt, t.path())
}

// Recover opens the journal that was read of a bucket whose last row comes before end, and forgets what is marked from there on. Nobody
// else knows the tasks yet.
func (t *Tasks) Recover(read *journal.Reading, end int64) (err error) {
	for _, fault := range read.Faults() {
		t.o.Logger.Error("what tasks consumed is lost in part", "error", fault)
	}
	if t.journal, err = read.Open(); err != nil {
		return err
	}
	if t.marks.Beyond(end) {
		if _, err := t.append(marks.EndRecord(end)); err != nil {
			return err
		}
		// On the disk before the bucket takes rows: marks that came back after a crash would be those of the rows that came instead.
		if err := t.journal.Sync(); err != nil {
			return fmt.Errorf("engine: sync marks: %w", err)
		}
	}
	if t.journal.Salvaged() || read.Empty() {
		return t.snapshot()
	}
	return nil
}

// Close syncs and closes the journal, once. It waits for who chooses rows, and these read the bucket: its owner must hold none of its
// locks, but for a second call, which does nothing.
func (t *Tasks) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.journal == nil {
		return nil
	}
	return t.journal.Close()
}

// Abort has the journal take nothing more, for that reason. It takes no lock, as who calls it may have panicked with one.
func (t *Tasks) Abort(cause error) {
	if t.journal != nil {
		t.journal.Abort(cause)
	}
}

func (t *Tasks) path() string { return filepath.Join(t.o.Home.Path, layout.MarksDir) }

func (t *Tasks) journalOptions() wal.Options {
	o := wal.Options{
		Dir:          t.path(),
		FS:           t.o.Home.FS,
		Bucket:       t.bucket,
		SegmentBytes: segmentBytes,
		SyncInterval: t.o.SyncInterval,
		Panicked:     t.o.Panicked,
		Logger:       t.o.Logger.With("component", "marks"),
	}
	if t.o.Salvage {
		o.Recovery = wal.Salvage
	}
	return o
}
