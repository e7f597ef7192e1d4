package bucket

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/marks"
	"github.com/persisting/persisting/wal"
)

// consumption is what tasks have consumed of the bucket. A mark is acknowledged as a put is: it survives the process when the call
// returns, and a power failure after the sync interval. Where rows were lost that it concerns, as a bucket without a log loses some
// at each crash, it is forgotten by the next opening, since others come to these offsets. There is no journal until something is
// marked.
type consumption struct {
	*core
	mu      sync.Mutex // guards what follows, and the order of the records
	marks   marks.Marks
	journal *journal.Journal // nil while nothing was marked
}

// note makes a change of the marks, and returns when it is acknowledged.
func (c *consumption) note(record []byte) error {
	wait, err := func() (func() error, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.append(record)
	}()
	return c.acknowledgedMark(wait, err)
}

// noteIf is note where anything was marked ever.
func (c *consumption) noteIf(record []byte) error {
	c.mu.Lock()
	none := c.journal == nil
	c.mu.Unlock()
	if none {
		return nil
	}
	return c.note(record)
}

// append makes a change of the marks and writes it; c.mu is held.
func (c *consumption) append(record []byte) (wait func() error, err error) {
	if c.journal == nil {
		if err := c.begin(); err != nil {
			return nil, err
		}
	}
	if c.journal.Size() > marksBytes {
		if err := c.journal.Snapshot(c.marks.Snapshot(c.first())); err != nil {
			return nil, err
		}
	}
	if wait, err = c.journal.Append(record); err != nil {
		return nil, err
	}
	return wait, c.marks.Replay(record)
}

// acknowledgedMark waits for a record that was written.
func (c *consumption) acknowledgedMark(wait func() error, err error) error {
	if err == nil {
		err = wait()
	}
	if errors.Is(err, wal.ErrClosed) {
		return engine.ErrClosed
	}
	if err != nil {
		return c.home.Refuse(err)
	}
	return nil
}

// first is the offset of the first row that is left in the table.
func (c *consumption) first() int64 {
	newest := c.table.Newest()
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

// begin makes the journal of a bucket in which nothing was marked; c.mu is held.
func (c *consumption) begin() error {
	reading, err := journal.Read(c.journalOptions(), &c.marks)
	if err != nil {
		return err
	}
	begun, err := reading.Open()
	if err != nil {
		return err
	}
	// The mark of the table says that there is one, and so it has to be there before.
	err = errors.Join(begun.Snapshot(c.marks.Snapshot(0)), c.home.FS.SyncDir(c.home.Path))
	if err == nil {
		err = c.table.Marker().Marked().Note(true)
	}
	if err != nil {
		return errors.Join(err, begun.Close())
	}
	c.journal = begun
	return nil
}

// read reads the marks of the last opener; nil where there are none. It changes nothing.
func (c *consumption) read() (*journal.Reading, error) {
	due := c.table.Marker().Mark().Marked
	if !due && !exists(c.marksPath()) {
		return nil, nil
	}
	reading, err := journal.Read(c.journalOptions(), &c.marks)
	if err != nil {
		return nil, err
	}
	switch {
	case !reading.Empty():
		return reading, nil
	case !due: // it was being made
		return nil, nil
	case c.salvages():
		return reading, nil
	}
	return nil, fmt.Errorf("%w: %s is gone, with the rows that tasks consumed", engine.ErrCorrupt, c.marksPath())
}

func (c *consumption) close() error {
	if c.journal == nil {
		return nil
	}
	return c.journal.Close()
}

func (c *consumption) abort(cause error) {
	if c.journal != nil {
		c.journal.Abort(cause)
	}
}

func (c *core) marksPath() string { return filepath.Join(c.home.Path, layout.MarksDir) }

func (c *consumption) journalOptions() wal.Options {
	o := wal.Options{
		Dir:          c.marksPath(),
		FS:           c.home.FS,
		Bucket:       c.id,
		SegmentBytes: marksSegment,
		SyncInterval: c.opts.WALSyncInterval,
		Panicked:     func(cause error) { c.panicked(fmt.Errorf("%w: %w", engine.ErrPanic, cause)) },
		Logger:       c.logger.With("component", "marks"),
	}
	if c.salvages() {
		o.Recovery = wal.Salvage
	}
	return o
}

const (
	// marksSegment is the size of a segment of the journal of marks.
	marksSegment = 4 << 20
	// marksBytes is the size of the journal at which the marks are written as a whole.
	marksBytes = 16 << 20
	// maxTaskName is the most bytes that the name of a task has.
	maxTaskName = 1 << 10
)
