package engine

import (
	"sync"
	"sync/atomic"
)

// alarm calls a function once when a count has reached a mark.
type alarm struct {
	armed atomic.Bool
	mu    sync.Mutex
	mark  int64
	ring  func()
}

func (a *alarm) set(mark int64, ring func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mark, a.ring = mark, ring
	a.armed.Store(ring != nil)
}

// advance tells the alarm where the count is.
func (a *alarm) advance(count int64) {
	if !a.armed.Load() {
		return
	}
	a.mu.Lock()
	ring := a.ring
	due := ring != nil && count >= a.mark
	if due {
		a.ring = nil
		a.armed.Store(false)
	}
	a.mu.Unlock()
	if due {
		ring()
	}
}
