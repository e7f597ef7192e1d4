package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// SnapshotFile is the name of the state in the directory of a journal.
const SnapshotFile = "snapshot"

// State is what a journal keeps. Neither method may keep the bytes that it is given.
type State interface {
	// Restore replaces the state by one that a snapshot has.
	Restore(snapshot []byte) error
	// Replay makes a change.
	Replay(record []byte) error
}

// Journal is an open journal.
type Journal struct {
	log      *wal.Log
	o        wal.Options
	held     int64 // records that the snapshot has
	salvaged bool  // something was given up
}

// Reading is a journal that was read into its state, and found to be one that can be opened.
type Reading struct {
	log    *wal.Reading
	o      wal.Options
	held   int64
	faults []error // that a salvage puts up with
	broken bool    // the snapshot is one
	empty  bool    // there is neither snapshot nor log
}

// Read reads a journal, which may be missing, into a state and changes nothing. The options are those of its log: of a directory
// of its own.
func Read(o wal.Options, s State) (*Reading, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	r := &Reading{o: o}
	if err := r.restore(s); err != nil {
		if o.Recovery != wal.Salvage || !errors.Is(err, engine.ErrCorrupt) {
			return nil, err
		}
		// The records behind the snapshot are replayed all the same: some of the state is better
		// than none.
		r.faults, r.broken = append(r.faults, err), true
	}
	replay := func(e segment.Entry) error {
		if err := s.Replay(e.Body); err != nil {
			return fmt.Errorf("%w: record %d of %s: %w", engine.ErrCorrupt, e.First, o.Dir, err)
		}
		return nil
	}
	log, report, err := wal.Read(o, r.held, replay)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	r.log = log
	r.empty = r.empty && report.Segments == 0
	r.faults = append(r.faults, report.Faults...)
	return r, nil
}

// restore reads the snapshot.
func (r *Reading) restore(s State) error {
	path := filepath.Join(r.o.Dir, SnapshotFile)
	content, err := statefile.Read(r.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		r.empty = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal: read snapshot: %w", err)
	}
	if len(content) < 8 {
		return fmt.Errorf("%w: %s has %d bytes, want 8 at least", engine.ErrCorrupt, path, len(content))
	}
	if err := s.Restore(content[8:]); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, path, err)
	}
	// Where the records of the log go on: what comes before is in the snapshot.
	r.held = int64(binary.LittleEndian.Uint64(content))
	return nil
}

// Faults are what a salvage gives up.
func (r *Reading) Faults() []error { return r.faults }

// Empty says that there is nothing of a journal.
func (r *Reading) Empty() bool { return r.empty }

// Open brings the journal in order.
func (r *Reading) Open() (*Journal, error) {
	if r.broken {
		if err := statefile.KeepBroken(filepath.Join(r.o.Dir, SnapshotFile)); err != nil {
			return nil, fmt.Errorf("journal: keep snapshot: %w", err)
		}
	}
	if err := r.o.FS.MkdirAll(r.o.Dir); err != nil {
		return nil, fmt.Errorf("journal: make directory: %w", err)
	}
	log, _, err := r.log.Open()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Journal{log: log, o: r.o, held: r.held, salvaged: len(r.faults) > 0}, nil
}

// Salvaged says that something was given up: the state is to be written as a whole.
func (j *Journal) Salvaged() bool { return j.salvaged }

// Append writes a record and returns what waits until it is acknowledged.
func (j *Journal) Append(record []byte) (wait func() error, err error) {
	first, err := j.log.Defer(nil, [][]byte{record}, 1, nil)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j.log.WriteNow()
	return func() error { return j.log.Wait(context.Background(), first+1) }, nil
}

// Size returns the bytes of the log.
func (j *Journal) Size() int64 { return j.log.Size() }

// Snapshot writes the state as it is after all records, and begins the log anew.
func (j *Journal) Snapshot(state []byte) error {
	held := j.log.Appended()
	if err := j.log.Sync(context.Background()); err != nil { // nobody waits for what is cut
		return fmt.Errorf("journal: %w", err)
	}
	content := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(state)), uint64(held))
	if err := statefile.Write(j.o.FS, filepath.Join(j.o.Dir, SnapshotFile), append(content, state...)); err != nil {
		return fmt.Errorf("journal: write snapshot: %w", err)
	}
	j.held, j.salvaged = held, false
	// Last. A crash before it finds records that the snapshot has as well, and the log passes them
	// over by their number.
	if err := j.log.Cut(held); err != nil {
		return fmt.Errorf("journal: cut log: %w", err)
	}
	return nil
}

// Sync returns when all records are on disk.
func (j *Journal) Sync() error { return j.log.Sync(context.Background()) }

// Abort makes the journal take no more records, for that reason.
func (j *Journal) Abort(cause error) { j.log.Abort(cause) }

// Err returns why the journal takes no more records, nil if it does.
func (j *Journal) Err() error { return j.log.Err() }

// Close syncs and closes the journal.
func (j *Journal) Close() error { return j.log.Close() }
