package transfer

import "sync"

// Mover runs the batches of a store, or of its client.
type Mover struct {
	Loads, Stores *Queue

	completions completions
	working     sync.WaitGroup
}

// Start makes the queues and the workers, half as many for stores as for loads, which go first.
func (m *Mover) Start(load, store func(*Work, int), workers int) {
	m.Loads, m.Stores = newQueue(load), newQueue(store)
	for range workers {
		m.working.Go(m.Loads.work)
	}
	for range (workers + 1) / 2 {
		m.working.Go(m.Stores.work)
	}
}

// Go runs what else ends before Stop returns.
func (m *Mover) Go(f func()) { m.working.Go(f) }

// Stop waits until all has run that is queued. What comes later is run by who brings it.
func (m *Mover) Stop() {
	m.Loads.close()
	m.Stores.close()
	m.working.Wait()
}

// Wait runs a batch with the help of the workers. One item is run by the caller alone, without the way to another thread.
func (m *Mover) Wait(q *Queue, w *Work) {
	w.left.Store(int32(len(w.Todo)))
	if len(w.Todo) == 0 {
		return
	}
	ended := make(chan struct{})
	w.done = func() { close(ended) }
	if len(w.Todo) == 1 || !q.add(w) {
		for _, i := range w.Todo {
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

// Submit begins a batch and returns the ticket that Drain gives back when it has ended.
func (m *Mover) Submit(q *Queue, w *Work) uint64 {
	ticket := m.completions.next.Add(1)
	w.done = func() { m.completions.add(ticket) }
	w.left.Store(int32(len(w.Todo)))
	if len(w.Todo) == 0 {
		w.done()
	} else if !q.add(w) { // the store is closed, so each is shed at once
		for _, i := range w.Todo {
			q.run(w, i)
		}
	}
	return ticket
}

// SetWaker has wake be called, on any goroutine and without waiting, when there are completions to drain.
func (m *Mover) SetWaker(wake func()) {
	c := &m.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = wake
	if len(c.done) > 0 && wake != nil {
		wake()
	}
}

// Drain fills tickets with those of batches that have ended, whose results and memory are the caller's again, and returns how
// many they are. When there are more, the waker is called again.
func (m *Mover) Drain(tickets []uint64) int {
	c := &m.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(tickets, c.done)
	c.done = c.done[:copy(c.done, c.done[n:])]
	if len(c.done) > 0 && n > 0 && c.wake != nil {
		c.wake()
	}
	return n
}
