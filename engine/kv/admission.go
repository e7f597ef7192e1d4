package kv

import "sync"

// sketch counts how often hashes came, at most 15 times and never too low; all counts are halved from time to time.
type sketch struct {
	mu     sync.Mutex
	counts []uint8
	added  int
}

const (
	sketchBytes = 1 << 20
	sketchRows  = 4
)

func newSketch() *sketch { return &sketch{counts: make([]uint8, sketchBytes)} }

// seen counts a hash, and returns how often it had come before. Rows are four places of one table, by four hashes that are made of
// one; two keys that share all four are taken for one, which costs a write that was not wanted, and no more.
func (k *sketch) seen(hash uint64) uint8 {
	k.mu.Lock()
	defer k.mu.Unlock()
	least := uint8(15)
	for row := range uint64(sketchRows) {
		at := (hash + row*(hash>>32|1)) % sketchBytes
		least = min(least, k.counts[at])
		k.counts[at] = min(k.counts[at]+1, 15)
	}
	if k.added++; k.added == 10*sketchBytes/sketchRows {
		k.added = 0
		for i := range k.counts {
			k.counts[i] /= 2
		}
	}
	return least
}
