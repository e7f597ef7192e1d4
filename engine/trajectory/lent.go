package trajectory

import (
	"sync"

	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/leases"
)

// lent is what was given out of a store.
type lent struct {
	mu    sync.Mutex // guards what follows
	known leases.Leases
	kept  journal.Kept
}

// close closes the journal, if there is one.
func (l *lent) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.Close()
}
