package transfer

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

// Work is a batch on its way.
type Work struct {
	*Batch
	Todo    []int    // items that are not decided yet
	Lengths []int64  // of the payloads, by item
	Numbers []uint64 // that a store has given its sets, by item
	Begun   time.Time

	next int // in Todo; guarded by the queue's lock
	left atomic.Int32
	done func()
}

// NewWork has no item to do yet.
func NewWork(b *Batch, begun time.Time) *Work {
	w := &Work{Batch: b, Lengths: make([]int64, len(b.Items)), Begun: begun}
	for i := range b.Items {
		for _, p := range b.Items[i].Pieces {
			w.Lengths[i] += int64(len(p))
		}
	}
	return w
}

// All has every item to do.
func (w *Work) All() {
	w.Todo = make([]int, len(w.Items))
	for i := range w.Todo {
		w.Todo[i] = i
	}
}

// End notes the result of an item; that of the last ends the batch.
func (w *Work) End(i int, result int8) {
	w.Results[i] = result
	if w.left.Add(-1) == 0 {
		w.done()
	}
}

// Queue has the batches that workers take items from, first come first served.
type Queue struct {
	run func(*Work, int)

	mu      sync.Mutex
	wake    sync.Cond
	batches []*Work
	items   int
	backlog int64 // bytes of items that have not ended
	closed  bool
}

func newQueue(run func(*Work, int)) *Queue {
	q := &Queue{run: run}
	q.wake.L = &q.mu
	return q
}

// add queues a batch; false once the queue is closed.
func (q *Queue) add(w *Work) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.batches = append(q.batches, w)
	q.items += len(w.Todo)
	// One worker, which wakes the next where there is more to do: who submits a batch waits for no
	// more than that, and no worker wakes for what others have done meanwhile.
	q.wake.Signal()
	return true
}

// work runs items until the queue is closed.
func (q *Queue) work() {
	for {
		w, i, ok := q.take(nil)
		if !ok {
			return
		}
		q.run(w, i)
	}
}

// take returns an item that nobody has taken, of the batch or, if that is nil, of the first there is, for which it waits.
func (q *Queue) take(of *Work) (w *Work, item int, ok bool) {
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
	if w.next == len(w.Todo) {
		return nil, 0, false
	}
	item = w.Todo[w.next]
	w.next++
	if q.items--; q.items > 0 {
		q.wake.Signal()
	}
	if w.next == len(w.Todo) {
		q.remove(w)
	}
	return w, item, true
}

func (q *Queue) remove(w *Work) {
	for i, other := range q.batches {
		if other == w {
			q.batches = append(q.batches[:i], q.batches[i+1:]...)
			return
		}
	}
}

// Hold counts bytes of a store, unless they are more than most.
func (q *Queue) Hold(bytes, most int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.backlog > 0 && q.backlog+bytes > most {
		return false
	}
	q.backlog += bytes
	return true
}

// Release ends what Hold has begun.
func (q *Queue) Release(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.backlog -= bytes
}

// Length is the number of items that wait, and the bytes that have not ended.
func (q *Queue) Length() (items int, backlog int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items, q.backlog
}

// close ends the workers once they have run what is queued; the store is closed by then, and runs nothing more to the end.
func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}
