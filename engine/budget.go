package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// DefaultBudgetBytes is the memory that buckets share unless something else is said.
const DefaultBudgetBytes = 1 << 30

const minBudgetBytes = 16 << 20

// Budget is memory that buckets share: for the rows that are not in Lance yet
// and, with what those leave, for recent rows and for pages of the table. Over
// the limit, buckets give up half of what they cache at a time, and one that has
// more than its share of unflushed rows is flushed and takes no more until then.
type Budget struct {
	limit, used, buckets atomic.Int64

	mu      sync.Mutex
	members map[*Bucket]struct{}
}

// NewBudget returns a budget of DefaultBudgetBytes.
func NewBudget() *Budget {
	g := &Budget{members: map[*Bucket]struct{}{}}
	g.limit.Store(DefaultBudgetBytes)
	return g
}

// SetLimit changes the size of the budget.
func (g *Budget) SetLimit(bytes int64) error {
	if bytes < minBudgetBytes {
		return &OptionError{Faults: []string{fmt.Sprintf("memory budget: want at least %d bytes, got %d", minBudgetBytes, bytes)}}
	}
	g.limit.Store(bytes)
	g.add(0)
	return nil
}

// Limit is the size of the budget, in bytes.
func (g *Budget) Limit() int64 { return g.limit.Load() }

// Used is what the buckets take now, in bytes.
func (g *Budget) Used() int64 { return g.used.Load() }

func (g *Budget) over() bool { return g.used.Load() > g.limit.Load() }

// share is the bytes of unflushed rows that each bucket may have in any case.
func (g *Budget) share() int64 { return g.limit.Load() / (2 * max(g.buckets.Load(), 1)) }

// add changes what is used, and has all buckets make room if that is too much.
func (g *Budget) add(bytes int64) {
	g.used.Add(bytes)
	if !g.over() || bytes < 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for b := range g.members {
		signal(b.tight)
	}
}

func (g *Budget) join(b *Bucket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[b] = struct{}{}
	g.buckets.Store(int64(len(g.members)))
}

func (g *Budget) leave(b *Bucket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, b)
	g.buckets.Store(int64(len(g.members)))
}

// account tells the budget what the bucket takes. The caller holds b.mu.
func (b *Bucket) account() {
	now := b.tail.bytes + b.pages.bytes
	delta := now - b.accounted
	b.accounted = now
	b.opts.Budget.add(delta)
}

// crowded says that the bucket has more unflushed rows than the budget has room
// for. The caller holds b.mu.
func (b *Bucket) crowded() bool {
	return b.opts.Budget.over() && b.unflushed > b.opts.Budget.share()
}

// shrink gives up half of the rows that are in memory and in Lance as well, and
// asks for a flush where that does not help.
func (b *Bucket) shrink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tail.evict(b.checkpoint, (b.tail.bytes-b.tail.bytesFrom(b.checkpoint))/2)
	b.pages.shrink(b.pages.bytes / 2)
	b.account()
	if b.crowded() {
		signal(b.kick)
	}
}
