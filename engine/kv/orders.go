package kv

import (
	"sync"
)

// orders makes the last of several sets of a key win that are on their way at the same time, and a delete win over all that were
// submitted before it.
type orders struct {
	mu   sync.Mutex
	keys map[uint64]order // by value: a set is numbered without an allocation
}

type order struct {
	pending    int    // sets on their way
	last, done uint64 // numbers that were given, and the highest that has ended
}

// begin numbers a set.
func (x *orders) begin(hash uint64) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.keys == nil {
		x.keys = map[uint64]order{}
	}
	w := x.keys[hash]
	w.pending++
	w.last++
	x.keys[hash] = w
	return w.last
}

// wins says whether no later set or delete has ended, and notes that this one has.
func (x *orders) wins(hash, number uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.keys[hash]
	if number < w.done {
		return false
	}
	w.done = number
	x.keys[hash] = w
	return true
}

func (x *orders) end(hash uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.keys[hash]
	if w.pending--; w.pending == 0 {
		delete(x.keys, hash)
		return
	}
	x.keys[hash] = w
}

// overtake has all sets that are on their way lose.
func (x *orders) overtake(hash uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w, ok := x.keys[hash]; ok {
		w.last++
		w.done = w.last
		x.keys[hash] = w
	}
}
