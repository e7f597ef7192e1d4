package waker

import (
	"sync"
	"sync/atomic"
)

// Waker calls a function when a count has reached a number that was asked for. The zero value calls nobody.
type Waker struct {
	// asked says that there is something to call for. Every acknowledgement of a row looks at it, and almost none finds somebody who
	// waits: a load, where the lock would be taken by each put.
	asked atomic.Bool

	mu    sync.Mutex // guards what follows, and is held while wake is called
	count int64      // that was asked for
	told  int64      // the count when wake was called last
	wake  func(more int64, over bool)
}

// Set has the waker call wake, with by how much the count has grown since the last call, and whether nothing more is to come. nil is
// for nobody. What was asked for before is forgotten.
func (w *Waker) Set(wake func(more int64, over bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake, w.told = wake, 0
	w.asked.Store(false)
}

// Ask asks for one call at a count, or at an earlier one that was asked for. Who asks looks at the count again after that, and tells it
// by Advance: it may have been reached in between, and nobody would tell.
func (w *Waker) Ask(count int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked.Load() {
		count = min(count, w.count)
	}
	w.count = count
	w.asked.Store(w.wake != nil)
}

// Advance tells the waker where the count is.
func (w *Waker) Advance(count int64) {
	if w.asked.Load() {
		w.call(count, false)
	}
}

// End tells the waker where the count is, and that it grows no more.
func (w *Waker) End(count int64) {
	if w.asked.Load() {
		w.call(count, true)
	}
}

func (w *Waker) call(count int64, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Again, under the lock: another may have called meanwhile.
	if !w.asked.Load() || !over && count < w.count {
		return
	}
	w.asked.Store(false)
	more := max(count-w.told, 0) // counts of two goroutines come in either order
	w.told += more
	w.wake(more, over)
}
