package trajectory

import (
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/trajectory/priorities"
	"github.com/persisting/persisting/wal"
)

// mostJournal is the size of the journal at which all priorities are written as a whole.
const mostJournal = 64 << 20

// ranks are the priorities of steps, and what keeps them.
type ranks struct {
	mu      sync.RWMutex // guards what follows
	known   priorities.Priorities
	journal *journal.Journal // nil while nothing was given
	closed  bool
}

// close closes the journal.
func (r *ranks) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed = true; r.journal == nil {
		return nil
	}
	return r.journal.Close()
}

// rank writes and makes a change, and returns what waits for its acknowledgement.
func (r *ranks) rank(o wal.Options, offsets []int64, given []float32) (wait func() error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, engine.ErrClosed
	}
	if r.journal == nil {
		reading, err := journal.Read(o, new(priorities.Priorities))
		if err != nil {
			return nil, err
		}
		if r.journal, err = reading.Open(); err != nil {
			return nil, err
		}
	}
	if r.journal.Size() > mostJournal {
		if err := r.journal.Snapshot(r.known.Snapshot()); err != nil {
			return nil, err
		}
	}
	if wait, err = r.journal.Append(priorities.Record(offsets, given)); err != nil {
		return nil, err
	}
	for i, offset := range offsets {
		r.known.Set(offset, given[i])
	}
	return wait, nil
}
