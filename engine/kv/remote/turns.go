package remote

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// stripes is among how many turns the keys are divided.
const stripes = 256

// turns has those who change the same key do so in the order in which they have asked for a turn.
type turns struct {
	mu   sync.Mutex
	next sync.Cond
	keys map[uint64]*turn
}

// turn counts, of a key, the turns that were given, and those that have ended.
type turn struct{ given, ended uint64 }

func turnOf(space uint32, key []byte) uint64 { return xxh3.HashSeed(key, uint64(space)) }

// begin gives a turn.
func (t *turns) begin(hash uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil {
		t.keys = map[uint64]*turn{}
		t.next.L = &t.mu
	}
	k := t.keys[hash]
	if k == nil {
		k = &turn{}
		t.keys[hash] = k
	}
	k.given++
	return k.given
}

// wait returns when the turns before have ended.
func (t *turns) wait(hash, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.keys[hash].ended < number-1 {
		t.next.Wait()
	}
}

func (t *turns) end(hash uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[hash]
	if k.ended++; k.ended == k.given {
		delete(t.keys, hash)
	}
	t.next.Broadcast()
}
