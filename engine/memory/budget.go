package memory

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// DefaultBudgetBytes is the memory that the members of a budget share unless something else is said.
const DefaultBudgetBytes = 1 << 30

const minBudgetBytes = 16 << 20

// ErrBudget is returned for a budget that is too small.
var ErrBudget = errors.New("memory budget")

// Budget is memory that its members share, the open buckets above all: for the
// rows that are not in Lance yet and, with what those leave, for recent rows and
// for pages of the table. Over the limit every member is asked to give up what it
// can do without, and one that has more than a fair part of what it cannot do
// without takes no more until then.
type Budget struct {
	limit, used, count atomic.Int64

	mu      sync.Mutex
	members map[*Share]struct{}
}

// Share is what one member of a budget takes of it.
type Share struct {
	budget *Budget
	shrink func()
	bytes  int64
}

// NewBudget returns a budget of DefaultBudgetBytes.
func NewBudget() *Budget {
	g := &Budget{members: map[*Share]struct{}{}}
	g.limit.Store(DefaultBudgetBytes)
	return g
}

// SetLimit changes the size of the budget, in bytes. It fails with [ErrBudget] for
// less than 16 MiB.
func (g *Budget) SetLimit(bytes int64) error {
	if bytes < minBudgetBytes {
		return fmt.Errorf("%w: want at least %d bytes, got %d", ErrBudget, minBudgetBytes, bytes)
	}
	g.limit.Store(bytes)
	// A smaller limit may be exceeded already: members make room at once, and not at the next put.
	g.add(0)
	return nil
}

// Limit is the size of the budget, in bytes.
func (g *Budget) Limit() int64 { return g.limit.Load() }

// Used is what the members take now, in bytes.
func (g *Budget) Used() int64 { return g.used.Load() }

// Over says whether the members take more than there is.
func (g *Budget) Over() bool { return g.used.Load() > g.limit.Load() }

// Fair is what each member may have in any case of what it cannot give up, in bytes.
func (g *Budget) Fair() int64 { return g.limit.Load() / (2 * max(g.count.Load(), 1)) }

// Join makes a member, which takes nothing yet. shrink is called, on any goroutine
// that takes memory, when the member has to give some up; it must not wait.
func (g *Budget) Join(shrink func()) *Share {
	s := &Share{budget: g, shrink: shrink}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[s] = struct{}{}
	g.count.Store(int64(len(g.members)))
	return s
}

// add changes what is used, and has all members make room if that is too much.
func (g *Budget) add(bytes int64) {
	g.used.Add(bytes)
	// An atomic for the many times that there is room; and whoever gives memory back is not to ask
	// others for more.
	if !g.Over() || bytes < 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.members {
		// All at once and not the largest alone: which has rows that nobody reads, only each of
		// them knows.
		s.shrink()
	}
}

// Set says what the member takes now, in bytes. One caller at a time.
func (s *Share) Set(bytes int64) {
	// The difference, so that the sum of all is kept by one addition and no member is asked for its
	// part.
	delta := bytes - s.bytes
	s.bytes = bytes
	s.budget.add(delta)
}

// Leave ends the membership; what it took is free.
func (s *Share) Leave() {
	s.Set(0)
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	delete(s.budget.members, s)
	s.budget.count.Store(int64(len(s.budget.members)))
}
