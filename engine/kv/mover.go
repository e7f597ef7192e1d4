package kv

import "sync"

// mover runs the batches of a store, or of its client.
type mover struct {
	loads, stores *queue
	completions   completions
	working       sync.WaitGroup
}

// wait runs a batch with the help of the workers. One item is run by the caller alone, without the way to another thread.
func (m *mover) wait(q *queue, w *work) {
	w.left.Store(int32(len(w.todo)))
	if len(w.todo) == 0 {
		return
	}
	ended := make(chan struct{})
	w.done = func() { close(ended) }
	if len(w.todo) == 1 || !q.add(w) {
		for _, i := range w.todo {
			q.run(w, i)
		}
		return
	}
	for {
		_, i, ok := q.take(w)
		if !ok {
			break
		}
		q.run(w, i)
	}
	<-ended
}

func (m *mover) submit(q *queue, w *work) uint64 {
	ticket := m.completions.next.Add(1)
	w.done = func() { m.completions.add(ticket) }
	w.left.Store(int32(len(w.todo)))
	if len(w.todo) == 0 {
		w.done()
	} else if !q.add(w) { // the store is closed, so each is shed at once
		for _, i := range w.todo {
			q.run(w, i)
		}
	}
	return ticket
}

// SetBell has ring be called, on any goroutine and without waiting, when there are completions to drain.
func (m *mover) SetBell(ring func()) {
	c := &m.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = ring
	if len(c.done) > 0 && ring != nil {
		ring()
	}
}

// Drain fills tickets with those of batches that have ended, whose results and memory are the caller's again, and returns how
// many they are. When there are more, the bell rings again.
func (m *mover) Drain(tickets []uint64) int {
	c := &m.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(tickets, c.done)
	c.done = c.done[:copy(c.done, c.done[n:])]
	if len(c.done) > 0 && n > 0 && c.ring != nil {
		c.ring()
	}
	return n
}
