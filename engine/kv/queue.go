package kv

import (
	"sync"
	"sync/atomic"
	"time"
)

// Item is a key with the memory of its payload, in one piece or several.
type Item struct {
	Key    []byte
	Pieces [][]byte
}

// Batch is what one call reads or writes. All its memory belongs to the store until the call has ended, or the completion of its
// ticket was drained.
type Batch struct {
	Space   uint32
	Items   []Item
	TTL     time.Duration // of what is set; 0 is that of the options
	Results []int8        // one for each item
}

// work is a batch on its way.
type work struct {
	*Batch
	owner   *owner
	todo    []int    // items that are not decided yet
	numbers []uint64 // of sets, by item
	lengths []int64  // by item
	begun   time.Time
	next    int // in todo; guarded by the queue's lock
	left    atomic.Int32
	done    func()
}

// queue has the batches that workers take items from, first come first served.
type queue struct {
	run func(*work, int)

	mu      sync.Mutex
	wake    sync.Cond
	batches []*work
	items   int
	backlog int64 // bytes of items that have not ended
	closed  bool
}

func newQueue(run func(*work, int)) *queue {
	q := &queue{run: run}
	q.wake.L = &q.mu
	return q
}

// add queues a batch; false once the queue is closed.
func (q *queue) add(w *work) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.batches = append(q.batches, w)
	q.items += len(w.todo)
	if len(w.todo) == 1 {
		q.wake.Signal()
	} else {
		q.wake.Broadcast()
	}
	return true
}

// work runs items until the queue is closed.
func (q *queue) work() {
	for {
		w, i, ok := q.take(nil)
		if !ok {
			return
		}
		q.run(w, i)
	}
}

// take returns an item that nobody has taken, of the batch or, if that is nil, of the first there is, for which it waits.
func (q *queue) take(of *work) (w *work, item int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for of == nil && len(q.batches) == 0 && !q.closed {
		q.wake.Wait()
	}
	if w = of; w == nil {
		if len(q.batches) == 0 {
			return nil, 0, false
		}
		w = q.batches[0]
	}
	if w.next == len(w.todo) {
		return nil, 0, false
	}
	item = w.todo[w.next]
	w.next++
	q.items--
	if w.next == len(w.todo) {
		q.remove(w)
	}
	return w, item, true
}

func (q *queue) remove(w *work) {
	for i, other := range q.batches {
		if other == w {
			q.batches = append(q.batches[:i], q.batches[i+1:]...)
			return
		}
	}
}

// hold counts bytes of a store, unless they are more than most.
func (q *queue) hold(bytes, most int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.backlog > 0 && q.backlog+bytes > most {
		return false
	}
	q.backlog += bytes
	return true
}

func (q *queue) release(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.backlog -= bytes
}

// length is the number of items that wait, and the bytes that have not ended.
func (q *queue) length() (items int, backlog int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items, q.backlog
}

// close ends the workers once they have run what is queued; the store is closed by then, and runs nothing more to the end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}

// end notes the result of an item; that of the last ends the batch.
func (w *work) end(i int, result int8) {
	w.Results[i] = result
	if w.left.Add(-1) == 0 {
		w.done()
	}
}
