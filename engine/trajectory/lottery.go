package trajectory

import (
	"math"
	"math/rand/v2"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// lottery is the weights of rows by which a prioritized sampler draws.
type lottery struct {
	ranks *ranks
	tree  priorities.Tree
	seen  int64   // changes of priorities
	most  float32 // the priority of rows that were given none

	priority, power float32 // the last one, and its weight
}

// weight is that of a row, with the priority that it has. The caller holds the lock of ranks.
func (o *lottery) weight(l *Law, row int64) float32 {
	if priority := o.ranks.known.At(row); priority != o.priority || o.power == 0 { // many rows have the same
		o.priority, o.power = priority, float32(math.Pow(float64(priority)+l.Epsilon, l.Alpha))
	}
	return o.power
}

// catchUp brings in rows that came, and priorities that were given.
func (o *lottery) catchUp(x *index, l *Law) {
	o.ranks.mu.RLock()
	defer o.ranks.mu.RUnlock()
	known := o.ranks.known.Since(o.seen, func(row int64) {
		if row < o.tree.Len() && eligible(x, l, row) {
			o.tree.Set(row, o.weight(l, row))
		}
	})
	if most := o.ranks.known.Most(); !known || most != o.most {
		o.tree, o.most = priorities.Tree{}, most // all that were given none have another one
	}
	o.seen = o.ranks.known.Changes()
	first := o.tree.Len()
	came := make([]float32, x.visible-first)
	for k := range came {
		if eligible(x, l, first+int64(k)) {
			came[k] = o.weight(l, first+int64(k))
		}
	}
	if len(came) > 0 {
		o.tree.Add(came...)
	}
}

// eligible says whether a window can ever begin at a row.
func eligible(x *index, l *Law, row int64) bool {
	c, i := x.at(row)
	return !c.last[i] && int64(c.step[i])%l.Stride == 0
}

// raffle draws windows by the weights of their first rows, each from a part of its own of the sum.
func (o *lottery) raffle(x *index, l *Law, random *rand.Rand, count int, out []window) ([]window, error) {
	o.catchUp(x, l)
	left := tries * (count + 1)
	for n := range count {
		u := (float64(n) + random.Float64()) / float64(count)
		for fits := false; !fits; u = random.Float64() {
			if left--; left < 0 || o.tree.Sum() == 0 {
				return o.raffleFew(x, l, random, count, out[:len(out)-n])
			}
			out, fits = o.pick(x, l, o.tree.Find(u*o.tree.Sum()), out)
		}
	}
	return out, nil
}

// pick adds to out the window of a row, if one begins there; a row at which none ever will is not drawn again.
func (o *lottery) pick(x *index, l *Law, row int64, out []window) ([]window, bool) {
	steps, later := l.window(x, row)
	if steps == 0 {
		if !later && l.oldest < 0 {
			o.tree.Set(row, 0)
		}
		return out, false
	}
	return append(out, window{row, steps}), true
}

// raffleFew is raffle where few rows fit: they get a tree of their own.
func (o *lottery) raffleFew(x *index, l *Law, random *rand.Rand, count int, out []window) ([]window, error) {
	var fits []window
	var few priorities.Tree
	for row := range o.tree.Len() {
		weight := o.tree.At(row)
		if steps, _ := l.window(x, row); steps > 0 && weight > 0 {
			fits = append(fits, window{row, steps})
			few.Add(weight)
		}
	}
	if len(fits) == 0 {
		return nil, errNothing
	}
	for n := range count {
		u := (float64(n) + random.Float64()) / float64(count)
		out = append(out, fits[few.Find(u*few.Sum())])
	}
	return out, nil
}

// importance is how much a window counts, so that what is drawn more often counts less: 1 for the one that is drawn least.
func (o *lottery) importance(l *Law, w window) float32 {
	return float32(math.Pow(float64(o.tree.At(w.first))/float64(o.tree.Least()), -l.Beta))
}
