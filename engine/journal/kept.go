package journal

import (
	"errors"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/wal"
)

// Whole is a state that can be written as a whole.
type Whole interface {
	State
	Snapshot() []byte
}

// Kept is a journal that there is from the first record on. The caller holds the lock of the state over each call, which gives
// records and changes one order; it is not held over a wait.
type Kept struct {
	// Options are those of the log.
	Options wal.Options
	// Most is the size of the log at which the state is written as a whole, so that an opening has little to read.
	Most int64

	journal *Journal
	closed  bool
}

// Begin opens what was read.
func (k *Kept) Begin(reading *Reading) (err error) {
	k.journal, err = reading.Open()
	return err
}

// Append writes a record, makes its change, and returns what waits until it is acknowledged.
func (k *Kept) Append(s Whole, record []byte) (wait func() error, err error) {
	switch {
	case k.closed:
		return nil, engine.ErrClosed
	case k.journal == nil:
		var reading *Reading
		if reading, err = Read(k.Options, s); err == nil {
			err = k.Begin(reading)
		}
	case k.journal.Size() > k.Most:
		err = k.Snapshot(s)
	}
	if err != nil {
		return nil, err
	}
	// In the log before the change is seen.
	written, err := k.journal.Append(record)
	if err != nil {
		return nil, closed(err)
	}
	return func() error { return closed(written()) }, s.Replay(record)
}

// Snapshot writes the state as a whole. There is a journal.
func (k *Kept) Snapshot(s Whole) error { return k.journal.Snapshot(s.Snapshot()) }

// Syncing returns what waits until all records are on disk. There is a journal.
func (k *Kept) Syncing() func() error {
	of := k.journal
	return func() error { return closed(of.Sync()) }
}

// Close closes the journal, if there is one, and takes no more records.
func (k *Kept) Close() error {
	if k.closed = true; k.journal == nil {
		return nil
	}
	return k.journal.Close()
}

// closed is the error of a call that met the end of the log.
func closed(err error) error {
	if errors.Is(err, wal.ErrClosed) {
		return engine.ErrClosed
	}
	return err
}
