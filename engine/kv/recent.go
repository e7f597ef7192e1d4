package kv

import "sync"

// recent has the hashes that something happened to a short time ago, the last so many of them.
type recent struct {
	limit int

	mu    sync.Mutex
	known map[uint64]struct{}
	order []uint64 // a ring once it is full
	next  int
}

func newRecent(limit int) *recent { return &recent{limit: limit, known: map[uint64]struct{}{}} }

func (r *recent) add(hash uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[hash]; ok {
		return
	}
	r.known[hash] = struct{}{}
	if len(r.order) < r.limit {
		r.order = append(r.order, hash)
		return
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = hash
	r.next = (r.next + 1) % r.limit
}

// has says whether a hash is among them, and takes it out.
func (r *recent) has(hash uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[hash]
	delete(r.known, hash)
	return ok
}
