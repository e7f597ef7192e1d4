package priorities

import (
	"container/heap"
	"math"
)

// Peaks is numbers, and the largest of each 16, of each 16 of these, and so on, so that the largest are found first. The zero value
// has none.
type Peaks struct {
	levels [][]float32 // the numbers, and then a level each; the last one has one
}

// Len is how many numbers there are.
func (p *Peaks) Len() int64 {
	if len(p.levels) == 0 {
		return 0
	}
	return int64(len(p.levels[0]))
}

// Clear forgets all numbers.
func (p *Peaks) Clear() { *p = Peaks{} }

// Add adds numbers behind the others.
func (p *Peaks) Add(numbers ...float32) {
	if len(p.levels) == 0 {
		p.levels = [][]float32{nil}
	}
	first := p.Len() >> fanBits
	p.levels[0] = append(p.levels[0], numbers...)
	for n, level := len(p.levels[0]), 1; n > 1; level++ {
		n = (n + fan - 1) >> fanBits
		if level == len(p.levels) {
			p.levels = append(p.levels, nil)
			first = 0 // the only one of the level below is a part of this one
		}
		p.levels[level] = append(p.levels[level], make([]float32, n-len(p.levels[level]))...)
		for i := first; i < int64(n); i++ {
			p.levels[level][i] = largest(part(p.levels[level-1], i))
		}
		first >>= fanBits
	}
}

// Set changes the i-th number.
func (p *Peaks) Set(i int64, number float32) {
	p.levels[0][i] = number
	for level := 1; level < len(p.levels); level++ {
		i >>= fanBits
		p.levels[level][i] = largest(part(p.levels[level-1], i))
	}
}

func largest(of []float32) float32 {
	out := of[0]
	for _, number := range of[1:] {
		out = max(out, number)
	}
	return out
}

// Walk calls do with the places of the numbers, the largest first and equal ones in their order, until it returns false. Those that
// are infinitely small are passed over.
func (p *Peaks) Walk(do func(i int64) bool) {
	if p.Len() == 0 {
		return
	}
	top := len(p.levels) - 1
	ahead := &summits{{p.levels[top][0], top, 0}}
	for ahead.Len() > 0 {
		s := heap.Pop(ahead).(summit)
		if s.number == float32(math.Inf(-1)) {
			return
		}
		if s.level == 0 {
			if !do(s.at) {
				return
			}
			continue
		}
		for k, number := range part(p.levels[s.level-1], s.at) {
			heap.Push(ahead, summit{number, s.level - 1, s.at<<fanBits + int64(k)})
		}
	}
}

// summit is the largest number of a part.
type summit struct {
	number float32
	level  int
	at     int64 // in the level
}

// first is the first number of the part.
func (s *summit) first() int64 { return s.at << (s.level * fanBits) }

// summits is a heap, the largest first. Of equal ones the first comes first, and of those the larger part, which may have an equal
// number before.
type summits []summit

func (h summits) Len() int { return len(h) }

func (h summits) Less(i, k int) bool {
	a, b := &h[i], &h[k]
	if a.number != b.number {
		return a.number > b.number
	}
	if a.first() != b.first() {
		return a.first() < b.first()
	}
	return a.level > b.level
}

func (h summits) Swap(i, k int) { h[i], h[k] = h[k], h[i] }

func (h *summits) Push(s any) { *h = append(*h, s.(summit)) }

func (h *summits) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
