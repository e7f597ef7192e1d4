package bucket

import (
	"sync"
	"sync/atomic"
)

// alarm calls a function when a count has reached a mark that was asked for.
type alarm struct {
	armed atomic.Bool
	mu    sync.Mutex
	mark  int64
	told  int64 // the count when it rang last
	ring  func(more int64, over bool)
}

// set has the alarm call ring, with by how much the count has grown since the last call, and whether nothing more is to come.
func (a *alarm) set(ring func(more int64, over bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ring, a.told = ring, 0
	a.armed.Store(false)
}

// arm asks for a call at a mark, or at an earlier one that was asked for.
func (a *alarm) arm(mark int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.armed.Load() {
		mark = min(mark, a.mark)
	}
	a.mark = mark
	a.armed.Store(a.ring != nil)
}

// advance tells the alarm where the count is.
func (a *alarm) advance(count int64) {
	if a.armed.Load() {
		a.call(count, false)
	}
}

// end tells the alarm where the count is, and that it grows no more.
func (a *alarm) end(count int64) {
	if a.armed.Load() {
		a.call(count, true)
	}
}

func (a *alarm) call(count int64, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.armed.Load() || !over && count < a.mark {
		return
	}
	a.armed.Store(false)
	more := max(count-a.told, 0)
	a.told += more
	a.ring(more, over)
}
