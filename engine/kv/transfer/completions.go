package transfer

import (
	"sync"
	"sync/atomic"
)

// completions are the tickets of batches that have ended.
type completions struct {
	next atomic.Uint64
	mu   sync.Mutex
	done []uint64
	wake func()
}

// add notes a ticket. The waker is called for the first that is there; who is woken drains all.
func (c *completions) add(ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, ticket)
	if len(c.done) == 1 && c.wake != nil {
		c.wake()
	}
}
