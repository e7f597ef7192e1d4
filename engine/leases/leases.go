package leases

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Batch is rows that were given out together.
type Batch struct {
	Number  int64
	Task    string
	Offsets []int64 // in the order in which they were given out, twice where one was twice
	acked   int64   // which acknowledgement was its own, from 1; 0 for none
}

// Leases are the batches that were given out. The zero value has none.
type Leases struct {
	next   int64            // number of the next batch
	acked  int64            // how many acknowledgements count
	open   map[int64]*Batch // by number
	behind []*Batch         // those acknowledged since the oldest tag, in that order
	tags   map[string]int64 // how many acknowledgements there were then
}

// Next is the number of the next batch.
func (l *Leases) Next() int64 { return l.next }

// Open returns the batch of a number, nil if none such is open.
func (l *Leases) Open(number int64) *Batch { return l.open[number] }

// Pending returns the open batches in the order in which they were given out.
func (l *Leases) Pending() []*Batch {
	return slices.SortedFunc(maps.Values(l.open), func(a, b *Batch) int { return cmp.Compare(a.Number, b.Number) })
}

// Beyond returns the numbers of batches that are kept and have rows from an offset on.
func (l *Leases) Beyond(end int64) (numbers []int64) {
	for _, b := range append(l.Pending(), l.behind...) {
		if slices.ContainsFunc(b.Offsets, func(offset int64) bool { return offset >= end }) {
			numbers = append(numbers, b.Number)
		}
	}
	return numbers
}

// Tags returns the names of tags, the oldest first.
func (l *Leases) Tags() []string {
	names := slices.Sorted(maps.Keys(l.tags))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(l.tags[a], l.tags[b]) })
	return names
}

// Tagged says whether there is a tag of that name.
func (l *Leases) Tagged(name string) bool {
	_, found := l.tags[name]
	return found
}

// The changes, which the records below are of.

func (l *Leases) lease(b *Batch) error {
	if b.Number != l.next {
		return fmt.Errorf("batch %d after batch %d", b.Number, l.next-1)
	}
	if l.open == nil {
		l.open = map[int64]*Batch{}
	}
	l.open[b.Number] = b
	l.next++
	return nil
}

func (l *Leases) ack(number int64) error {
	b := l.open[number]
	if b == nil {
		return fmt.Errorf("batch %d is not open", number)
	}
	delete(l.open, number)
	l.acked++
	b.acked = l.acked
	if len(l.tags) > 0 {
		l.behind = append(l.behind, b)
	}
	return nil
}

func (l *Leases) tag(name string) error {
	if l.tags == nil {
		l.tags = map[string]int64{}
	}
	l.tags[name] = l.acked
	l.prune()
	return nil
}

func (l *Leases) untag(name string) error {
	if !l.Tagged(name) {
		return fmt.Errorf("there is no tag %q", name)
	}
	delete(l.tags, name)
	l.prune()
	return nil
}

// prune lets go of batches to which nobody can return.
func (l *Leases) prune() {
	oldest := l.acked
	for _, at := range l.tags {
		oldest = min(oldest, at)
	}
	l.behind = slices.DeleteFunc(l.behind, func(b *Batch) bool { return b.acked <= oldest })
}

// returnTo opens the batches that were acknowledged since a tag.
func (l *Leases) returnTo(name string) error {
	at, found := l.tags[name]
	if !found {
		return fmt.Errorf("there is no tag %q", name)
	}
	l.behind = slices.DeleteFunc(l.behind, func(b *Batch) bool {
		again := b.acked > at
		if again {
			b.acked = 0
			l.open[b.Number] = b
		}
		return again
	})
	maps.DeleteFunc(l.tags, func(_ string, other int64) bool { return other > at })
	l.acked = at
	return nil
}

func (l *Leases) forget(number int64) error {
	kept := len(l.open) + len(l.behind)
	delete(l.open, number)
	l.behind = slices.DeleteFunc(l.behind, func(b *Batch) bool { return b.Number == number })
	if len(l.open)+len(l.behind) == kept {
		return fmt.Errorf("batch %d is not kept", number)
	}
	return nil
}
