package kv

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The rings of a segment.
const (
	small = iota
	main
	rings

	freeRing = rings
)

// ringSet has the segments in the order in which they were begun. Each is in one place at a time: open, sealed, leaving or free,
// and goes through them in that order. Its lock is held for moments; what waits for the disk, and what decides, is done under
// that of recycling, by one at a time.
type ringSet struct {
	turns atomic.Uint64 // how many were begun or renewed

	mu      sync.Mutex
	limit   int // segments that there may be
	most    int // to that many, copies of blocks that stay may add one; guarded by s.recycling
	count   int // segments that there are
	open    [rings]*segment
	sealed  [rings][]*segment // oldest first
	free    []*segment
	leaving []*segment // emptied, but in use
}

// take reserves room for a block in the open segment of a ring, which the caller leaves with endWrite; without room it returns
// the segment alone.
func (r *ringSet) take(ring int, length uint32) (g *segment, page uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g = r.open[ring]; g == nil {
		return nil, 0, false
	}
	if page, ok = g.Reserve(length); ok {
		g.users.Add(1)
		g.writers.Add(1)
	}
	return g, page, ok
}

func (r *ringSet) isOpen(g *segment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[small] == g || r.open[main] == g
}

// install has a ring go on in a segment. Writers of the one before may still be at work; they are counted in it.
func (r *ringSet) install(ring int, g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.open[ring]; old != nil {
		r.sealed[ring] = append(r.sealed[ring], old)
	}
	g.turn.Store(r.turns.Add(1))
	r.open[ring] = g
}

// openOf is where a ring goes on, nil before its first block.
func (r *ringSet) openOf(ring int) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[ring]
}

// pop takes a free segment if more than spare are there.
func (r *ringSet) pop(spare int) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) <= spare {
		return nil
	}
	g := r.free[0]
	r.free = r.free[1:]
	return g
}

// room says whether one more segment may be made.
func (r *ringSet) room() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count < r.limit
}

// total is how many segments there are, whatever their state.
func (r *ringSet) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// made counts segments that were made, or removed. It is apart from the lists, because the file is made between the two.
func (r *ringSet) made(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += by
}

// victims are the segments that may be emptied, best first: those without a block, then the oldest of the ring that is too long.
// The small ring may have 3/10 of all: what is read once only has left before it has pushed out much, and what is read again after
// others were set, such as a conversation that goes on, has been. One that is written to is left out: its blocks have no entries
// yet, and would be lost.
func (r *ringSet) victims() []*segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, second := main, small
	if len(r.sealed[small])+1 > max(1, r.limit*3/10) {
		first, second = small, main
	}
	all := slices.Concat(r.sealed[first], r.sealed[second])
	var empty, rest []*segment
	for _, g := range all {
		switch {
		case g.writers.Load() > 0:
		case g.live.Load() == 0:
			empty = append(empty, g)
		default:
			rest = append(rest, g)
		}
	}
	return append(empty, rest...)
}

// renew makes a segment, which is sealed, the newest of the main ring as it is.
func (r *ringSet) renew(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlink(g)
	g.Assume(g.Epoch(), main)
	g.turn.Store(r.turns.Add(1))
	r.sealed[main] = append(r.sealed[main], g)
}

// unlink takes a sealed segment out of its ring.
func (r *ringSet) unlink(g *segment) {
	for ring := range r.sealed {
		r.sealed[ring] = slices.DeleteFunc(r.sealed[ring], func(other *segment) bool { return other == g })
	}
}

// retire takes a segment out of its ring, emptied. It is not free yet: readers that have found a block before may still read it.
func (r *ringSet) retire(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlink(g)
	r.leaving = append(r.leaving, g)
}

// left takes out one of the emptied segments that nobody uses any more.
func (r *ringSet) left() *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, g := range r.leaving {
		if g.users.Load() == 0 {
			r.leaving = slices.Delete(r.leaving, i, i+1)
			return g
		}
	}
	return nil
}

// putFree takes in a segment that is void on the disk.
func (r *ringSet) putFree(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, g)
}

// putLeaving takes one back that could not be made void; it is tried again.
func (r *ringSet) putLeaving(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = append(r.leaving, g)
}

// leavingCount is how many wait for their readers, or for a disk that takes writes.
func (r *ringSet) leavingCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.leaving)
}

// over says whether there are more segments than that.
func (r *ringSet) over(limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count > limit
}
