package kv

import "sync"

// ghosts are the hashes of blocks that were forgotten a short time ago. One that is set again had left too early, and goes to the
// main ring at once; with second_hit it is stored, since it was wanted twice.
type ghosts struct {
	mu    sync.Mutex
	known map[uint64]struct{}
	order []uint64 // a ring once it is full
	next  int
}

// ghostLimit is how many hashes are kept; they take up to 8 MB.
const ghostLimit = 1 << 18

func newGhosts() *ghosts { return &ghosts{known: map[uint64]struct{}{}} }

func (g *ghosts) add(hash uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.known[hash]; ok {
		return
	}
	g.known[hash] = struct{}{}
	if len(g.order) < ghostLimit {
		g.order = append(g.order, hash)
		return
	}
	delete(g.known, g.order[g.next])
	g.order[g.next] = hash
	g.next = (g.next + 1) % ghostLimit
}

// has says whether a hash is among them, and takes it out.
func (g *ghosts) has(hash uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.known[hash]
	delete(g.known, hash)
	return ok
}

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
