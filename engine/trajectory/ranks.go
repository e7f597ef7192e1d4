package trajectory

import (
	"sync"

	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// ranks are the priorities of steps.
type ranks struct {
	mu    sync.RWMutex // guards what follows
	known priorities.Priorities
	kept  journal.Kept
}

// close closes the journal, if there is one.
func (r *ranks) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept.Close()
}

// rank writes and makes a change, and returns what waits for its acknowledgement.
func (r *ranks) rank(offsets []int64, given []float32) (wait func() error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept.Append(&r.known, priorities.Record(offsets, given))
}
