package priorities

import "math"

const (
	fanBits = 4
	fan     = 1 << fanBits // 16 float32 are a line of memory
)

// Tree is weights, and the sums of each 16, of each 16 of these, and so on. A sum is made of its parts anew at each change of one, so
// nothing drifts. The zero value has none.
type Tree struct {
	weights []float32
	sums    [][]float64 // a level each; the last one has one
	least   [][]float32 // the same of the smallest that is not zero, +Inf for none
}

// Len is how many weights there are.
func (t *Tree) Len() int64 { return int64(len(t.weights)) }

// Clear forgets all weights.
func (t *Tree) Clear() { *t = Tree{} }

// Sum is that of all weights.
func (t *Tree) Sum() float64 {
	if len(t.sums) == 0 {
		return 0
	}
	return t.sums[len(t.sums)-1][0]
}

// Least is the smallest weight that is not zero, +Inf for none.
func (t *Tree) Least() float32 {
	if len(t.least) == 0 {
		return float32(math.Inf(1))
	}
	return t.least[len(t.least)-1][0]
}

// At is the i-th weight.
func (t *Tree) At(i int64) float32 { return t.weights[i] }

// Add adds weights behind the others.
func (t *Tree) Add(weights ...float32) {
	first := int64(len(t.weights))
	t.weights = append(t.weights, weights...)
	for n, level := len(t.weights), 0; n > 1 || level == 0; level++ {
		n = (n + fan - 1) >> fanBits
		if level == len(t.sums) {
			t.sums, t.least = append(t.sums, nil), append(t.least, nil)
			first = 0 // the only one of the level below is a part of this one
		}
		first >>= fanBits
		t.sums[level] = append(t.sums[level], make([]float64, n-len(t.sums[level]))...)
		t.least[level] = append(t.least[level], make([]float32, n-len(t.least[level]))...)
		for i := first; i < int64(n); i++ {
			t.sum(level, i)
		}
	}
}

// Set changes the i-th weight.
func (t *Tree) Set(i int64, weight float32) {
	t.weights[i] = weight
	for level := range t.sums {
		i >>= fanBits
		t.sum(level, i)
	}
}

// sum makes the i-th sum of a level of its parts.
func (t *Tree) sum(level int, i int64) {
	sum, least := 0.0, float32(math.Inf(1))
	if level == 0 {
		for _, w := range part(t.weights, i) {
			sum += float64(w)
			if w > 0 && w < least {
				least = w
			}
		}
	} else {
		for k, s := range part(t.sums[level-1], i) {
			sum += s
			least = min(least, t.least[level-1][i<<fanBits+int64(k)])
		}
	}
	t.sums[level][i], t.least[level][i] = sum, least
}

// part is what the i-th number of the level above is of.
func part[T any](of []T, i int64) []T { return of[i<<fanBits : min((i+1)<<fanBits, int64(len(of)))] }

// Find returns the weight at which the sum of those up to it is above u, which is less than the sum of all.
func (t *Tree) Find(u float64) int64 {
	i := int64(0)
	for level := len(t.sums) - 2; level >= 0; level-- {
		i, u = step(t.sums[level], i, u)
	}
	i, _ = step(t.weights, i, u)
	return i
}

// step goes one level down, to the part in which u is, or the last one that is not zero, and returns what is left of u there.
func step[T float32 | float64](below []T, i int64, u float64) (at int64, left float64) {
	at = i << fanBits
	for k, w := range part(below, i) {
		if w == 0 {
			continue
		}
		at, left = i<<fanBits+int64(k), u
		if u -= float64(w); u < 0 {
			break
		}
	}
	return at, left
}
