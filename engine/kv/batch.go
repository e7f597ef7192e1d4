package kv

import (
	"fmt"
	"math"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// prepare checks a batch.
func (s *Store) prepare(b *Batch) (*work, error) {
	o, err := s.space(b.Space)
	if err != nil {
		return nil, err
	}
	if len(b.Results) != len(b.Items) {
		return nil, fmt.Errorf("%w: %d results for %d items", ErrInvalid, len(b.Results), len(b.Items))
	}
	w := &work{Batch: b, owner: o, lengths: make([]int64, len(b.Items)), begun: s.o.now()}
	for i := range b.Items {
		for _, p := range b.Items[i].Pieces {
			w.lengths[i] += int64(len(p))
		}
		if n := len(b.Items[i].Key) + len(o.namespace) + len(o.salt); n > blob.MaxNamesBytes {
			return nil, fmt.Errorf("%w: key %d has %d bytes with its namespace, want at most %d", ErrInvalid, i, n, blob.MaxNamesBytes)
		}
	}
	return w, nil
}

// prepareLoads has all items to do.
func (s *Store) prepareLoads(b *Batch) (*work, error) {
	w, err := s.prepare(b)
	if err != nil {
		return nil, err
	}
	w.todo = make([]int, len(b.Items))
	for i := range w.todo {
		w.todo[i] = i
	}
	return w, nil
}

// prepareStores has those to do that are not too long, and for which there is room in the backlog if it is bounded by most.
func (s *Store) prepareStores(b *Batch, most int64) (*work, error) {
	w, err := s.prepare(b)
	if err != nil {
		return nil, err
	}
	w.numbers = make([]uint64, len(b.Items))
	for i := range b.Items {
		switch {
		case w.lengths[i] > s.blobs.MaxLength():
			b.Results[i] = s.noRoom(errTooLong)
		case !s.stores.hold(w.lengths[i], most):
			s.stats.setShed.Add(1)
			b.Results[i] = Shed
		default:
			hash := w.owner.hash(b.Items[i].Key)
			w.numbers[i] = s.ordersOf(hash).begin(hash)
			w.todo = append(w.todo, i)
		}
	}
	return w, nil
}

// runLoad reads one item.
func (s *Store) runLoad(w *work, i int) {
	late := s.o.now().Sub(w.begun).Seconds() > s.o.LoadDeadline
	switch {
	case late || s.closed.Load():
		s.stats.missedLate.Add(1)
		w.end(i, Shed)
	default:
		result := s.load(w.owner, w.Items[i].Key, w.Items[i].Pieces, w.lengths[i])
		s.metrics.LoadDone(s.o.now().Sub(w.begun))
		w.end(i, result)
	}
}

// yields is how often a store lets loads go first, and yieldFor how long each time.
const (
	yields   = 20
	yieldFor = 200 * time.Microsecond
)

// runStore writes one item. Loads go first, for up to 4 ms.
func (s *Store) runStore(w *work, i int) {
	for range yields {
		if n, _ := s.loads.length(); n == 0 {
			break
		}
		time.Sleep(yieldFor)
	}
	result := Shed
	if !s.closed.Load() {
		result = s.put(w.owner, w.Items[i].Key, w.Items[i].Pieces, uint32(w.lengths[i]), w.TTL, w.numbers[i])
		s.metrics.SetDone(s.o.now().Sub(w.begun))
	}
	hash := w.owner.hash(w.Items[i].Key)
	s.ordersOf(hash).end(hash)
	s.stores.release(w.lengths[i])
	w.end(i, result)
}

// wait runs a batch with the help of the workers. One item is run by the caller alone, without the way to another thread.
func (s *Store) wait(q *queue, w *work) {
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

// Get reads blocks into the memory of the items. A block has the length of its memory, or is a miss.
func (s *Store) Get(b *Batch) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.exit()
	w, err := s.prepareLoads(b)
	if err == nil {
		s.wait(s.loads, w)
	}
	return err
}

// Set stores blocks. What is true of it then is what Options.Sync says.
func (s *Store) Set(b *Batch) error {
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	w, err := s.prepareStores(b, math.MaxInt64)
	if err == nil {
		s.wait(s.stores, w)
	}
	return err
}

// SubmitGet begins a Get and returns its ticket. It does not wait for the disk.
func (s *Store) SubmitGet(b *Batch) (uint64, error) {
	w, err := s.prepareLoads(b)
	if err != nil {
		return 0, err
	}
	return s.submit(s.loads, w), nil
}

// SubmitSet begins a Set and returns its ticket. It does not wait for the disk: items for which the backlog has no room fail.
func (s *Store) SubmitSet(b *Batch) (uint64, error) {
	if s.o.ReadOnly {
		return 0, ErrReadOnly
	}
	w, err := s.prepareStores(b, s.o.MaxStoreBacklogBytes)
	if err != nil {
		return 0, err
	}
	return s.submit(s.stores, w), nil
}

func (s *Store) submit(q *queue, w *work) uint64 {
	ticket := s.completions.next.Add(1)
	w.done = func() { s.completions.add(ticket) }
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
func (s *Store) SetBell(ring func()) {
	c := &s.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = ring
	if len(c.done) > 0 && ring != nil {
		ring()
	}
}

// Drain fills tickets with those of batches that have ended, whose results and memory are the caller's again, and returns how
// many they are. When there are more, the bell rings again.
func (s *Store) Drain(tickets []uint64) int {
	c := &s.completions
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(tickets, c.done)
	c.done = c.done[:copy(c.done, c.done[n:])]
	if len(c.done) > 0 && n > 0 && c.ring != nil {
		c.ring()
	}
	return n
}
