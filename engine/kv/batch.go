package kv

import (
	"fmt"
	"math"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
)

// prepare checks a batch.
func (s *Store) prepare(b *transfer.Batch) (*transfer.Work, *owner, error) {
	o, err := s.space(b.Space)
	if err != nil {
		return nil, nil, err
	}
	if len(b.Results) != len(b.Items) {
		return nil, nil, fmt.Errorf("%w: %d results for %d items", ErrInvalid, len(b.Results), len(b.Items))
	}
	for i := range b.Items {
		if n := len(b.Items[i].Key) + len(o.namespace) + len(o.salt); n > blob.MaxNamesBytes {
			return nil, nil, fmt.Errorf("%w: key %d has %d bytes with its namespace, want at most %d", ErrInvalid, i, n, blob.MaxNamesBytes)
		}
	}
	return transfer.NewWork(b, s.o.Now()), o, nil
}

// prepareLoads has all items to do.
func (s *Store) prepareLoads(b *transfer.Batch) (*transfer.Work, error) {
	w, _, err := s.prepare(b)
	if err != nil {
		return nil, err
	}
	w.All()
	return w, nil
}

// prepareStores has those to do that are not too long, and for which there is room in the backlog if it is bounded by most.
func (s *Store) prepareStores(b *transfer.Batch, most int64) (*transfer.Work, error) {
	w, o, err := s.prepare(b)
	if err != nil {
		return nil, err
	}
	w.Todo, w.Numbers = make([]int, 0, len(b.Items)), make([]uint64, len(b.Items))
	for i := range b.Items {
		switch {
		case w.Lengths[i] > s.blobs.MaxLength():
			b.Results[i] = s.noRoom(errTooLong)
		case !s.mover.Stores.Hold(w.Lengths[i], most):
			s.stats.setShed.Add(1)
			b.Results[i] = transfer.Shed
		default:
			hash := o.hash(b.Items[i].Key)
			w.Numbers[i] = s.ordersOf(hash).begin(hash)
			w.Todo = append(w.Todo, i)
		}
	}
	return w, nil
}

// runLoad reads one item.
func (s *Store) runLoad(w *transfer.Work, i int) {
	late := s.o.Now().Sub(w.Begun).Seconds() > s.o.LoadDeadline
	switch {
	case late || s.closed.Load():
		s.stats.missedLate.Add(1)
		w.End(i, transfer.Shed)
	default:
		result := s.load(s.owners.get(w.Space), w.Items[i].Key, w.Items[i].Pieces, w.Lengths[i])
		s.metrics.LoadDone(s.o.Now().Sub(w.Begun))
		w.End(i, result)
	}
}

// yields is how often a store lets loads go first, and yieldFor how long each time.
const (
	yields   = 20
	yieldFor = 200 * time.Microsecond
)

// runStore writes one item. Loads go first, for up to 4 ms.
func (s *Store) runStore(w *transfer.Work, i int) {
	for range yields {
		if n, _ := s.mover.Loads.Length(); n == 0 {
			break
		}
		time.Sleep(yieldFor)
	}
	o := s.owners.get(w.Space)
	result := transfer.Shed
	if !s.closed.Load() {
		result = s.put(o, w.Items[i].Key, w.Items[i].Pieces, uint32(w.Lengths[i]), w.TTL, w.Numbers[i])
		s.metrics.SetDone(s.o.Now().Sub(w.Begun))
	}
	hash := o.hash(w.Items[i].Key)
	s.ordersOf(hash).end(hash)
	s.mover.Stores.Release(w.Lengths[i])
	w.End(i, result)
}

// Get reads blocks into the memory of the items. A block has the length of its memory, or is a miss.
func (s *Store) Get(b *transfer.Batch) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.exit()
	w, err := s.prepareLoads(b)
	if err == nil {
		s.mover.Wait(s.mover.Loads, w)
	}
	return err
}

// Set stores blocks. What is true of it then is what Options.Sync says.
func (s *Store) Set(b *transfer.Batch) error {
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	w, err := s.prepareStores(b, math.MaxInt64)
	if err == nil {
		s.mover.Wait(s.mover.Stores, w)
	}
	return err
}

// SubmitGet begins a Get and returns its ticket. It does not wait for the disk.
func (s *Store) SubmitGet(b *transfer.Batch) (uint64, error) {
	w, err := s.prepareLoads(b)
	if err != nil {
		return 0, err
	}
	return s.mover.Submit(s.mover.Loads, w), nil
}

// SubmitSet begins a Set and returns its ticket. It does not wait for the disk: items for which the backlog has no room fail.
func (s *Store) SubmitSet(b *transfer.Batch) (uint64, error) {
	if s.o.ReadOnly {
		return 0, ErrReadOnly
	}
	w, err := s.prepareStores(b, s.o.MaxStoreBacklogBytes)
	if err != nil {
		return 0, err
	}
	return s.mover.Submit(s.mover.Stores, w), nil
}

// SetWaker has wake be called, on any goroutine and without waiting, when there are completions to drain.
func (s *Store) SetWaker(wake func()) { s.mover.SetWaker(wake) }

// Drain fills tickets with those of batches that have ended, whose results and memory are the caller's again, and returns how
// many they are. When there are more, the waker is called again.
func (s *Store) Drain(tickets []uint64) int { return s.mover.Drain(tickets) }
