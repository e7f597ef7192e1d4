package kv

import (
	"sync"
)

// doubts are the hashes of blocks that are not in the index, but which an opening may find, with their sequences. The next
// checkpoint settles them: what it does not have, and is not newer, is not taken in.
type doubts struct {
	mu sync.Mutex
	of map[uint64]uint64
}

func (d *doubts) add(hash, sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[uint64]uint64{}
	}
	d.of[hash] = sequence
}

func (d *doubts) has(hash uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.of[hash]
	return ok
}

func (d *doubts) settle(sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for hash, of := range d.of {
		if of <= sequence {
			delete(d.of, hash)
		}
	}
}
