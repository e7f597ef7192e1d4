package kv

import (
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine/blob"
)

// segment is a segment file with the entries of its blocks.
type segment struct {
	*blob.Segment
	users   atomic.Int32  // reads and writes in it now: it is not filled anew before they have ended
	writers atomic.Int32  // of these, writes: it is not emptied before they have ended
	live    atomic.Int64  // bytes that live blocks take
	turn    atomic.Uint64 // grows in the order in which segments were begun or renewed

	mu      sync.Mutex // after that of a shard
	entries entries
}

// add takes an entry in, whose shard is locked.
func (g *segment) add(e entry) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.entries.add()
	*g.entries.at(i) = e
	return i
}

// expect makes room for so many entries, where there are none yet.
func (g *segment) expect(n uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries.expect(n)
}

// entryCount is how many there are, live or not.
func (g *segment) entryCount() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entries.count
}

// clearEntries forgets all of them. References to them are gone from the index by then.
func (g *segment) clearEntries() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries.clear()
}

// leave ends a read.
func (g *segment) leave() { g.users.Add(-1) }

// endWrite ends a write that take has begun. writers goes first: who sees no writer may still see a user, and never the reverse.
func (g *segment) endWrite() {
	g.writers.Add(-1)
	g.users.Add(-1)
}
