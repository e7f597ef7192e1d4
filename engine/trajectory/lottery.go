package trajectory

import (
	"math"
	"slices"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// lottery is the weights of rows by which a prioritized sampler draws.
type lottery struct {
	standing
	tree  priorities.Tree
	drawn []float32 // the weights of the last draws
	parts []float64 // of the sum, in which the next ones are looked for
}

// weights returns what makes weights of priorities, one goroutine at a time.
func (l *Law) weights() func(priority float32) float32 {
	var last, weight float32
	return func(priority float32) float32 {
		if priority != last || weight == 0 { // many rows have the same
			last, weight = priority, l.weight(priority)
		}
		return weight
	}
}

// weight is that of a priority. Two functions that processors are good at take half the time of the power.
func (l *Law) weight(priority float32) float32 {
	base := float64(priority) + l.Epsilon
	switch {
	case l.Alpha == 1:
		return float32(base)
	case base == 0:
		return float32(math.Pow(base, l.Alpha))
	}
	return float32(math.Exp(l.Alpha * math.Log(base)))
}

// raffle draws windows by the weights of their first rows, each from a part of its own of the sum; where each is drawn a few times
// only, from all that is left of it.
func (d *drawer) raffle(x *index, count int, out []window) ([]window, error) {
	o := &d.lottery
	o.catchUp(d, x, &o.tree, 0, d.law.weights)
	o.drawn = o.drawn[:0]
	if o.tree.Sum() == 0 {
		return d.raffleFew(x, count, 0, out)
	}
	d.spread(x, count)
	left := tries * (count + 1)
	for n := range count {
		row := d.numbers[n]
		for fits := false; ; row = o.tree.Find(d.random.Float64() * o.tree.Sum()) {
			if out, fits = d.pick(x, row, out); fits {
				break
			}
			if left--; left < 0 || o.tree.Sum() == 0 {
				return d.raffleFew(x, count, n, out)
			}
		}
	}
	return out, nil
}

// spread finds the rows that are tried first.
func (d *drawer) spread(x *index, count int) {
	o := &d.lottery
	o.parts, d.numbers = o.parts[:0], slices.Grow(d.numbers[:0], count)[:count]
	for n := range count {
		o.parts = append(o.parts, d.part(n, count)*o.tree.Sum())
	}
	o.tree.FindAll(o.parts, d.numbers)
	d.warm(x)
}

// part is the place of the n-th of some draws in a sum of 1: in a part of its own, unless each row is drawn a few times only.
func (d *drawer) part(n, count int) float64 {
	u := d.random.Float64()
	if d.law.Times == 0 {
		u = (float64(n) + u) / float64(count)
	}
	return u
}

// pick adds to out the window of a row, if one begins there; a row at which none ever will is not drawn again.
func (d *drawer) pick(x *index, row int64, out []window) ([]window, bool) {
	o := &d.lottery
	steps, later := d.window(x, row)
	if steps == 0 {
		if !later && d.law.oldest < 0 {
			o.tree.Set(row, 0)
		}
		return out, false
	}
	o.drawn = append(o.drawn, o.tree.At(row))
	return d.spend(append(out, window{row, steps}), 1), true
}

// raffleFew is raffle where few rows fit, of which done were drawn: they get a tree of their own.
func (d *drawer) raffleFew(x *index, count, done int, out []window) ([]window, error) {
	o := &d.lottery
	if d.law.Times == 0 { // the parts of the sum are others
		out, o.drawn, done = out[:len(out)-done], o.drawn[:0], 0
	}
	var fits []window
	var few priorities.Tree
	for row := range o.tree.Len() {
		weight := o.tree.At(row)
		if steps, _ := d.window(x, row); steps > 0 && weight > 0 {
			fits = append(fits, window{row, steps})
			few.Add(weight)
		}
	}
	for n := done; n < count && few.Sum() > 0; n++ {
		k := few.Find(d.part(n, count) * few.Sum())
		o.drawn = append(o.drawn, few.At(k))
		if out = d.spend(append(out, fits[k]), 1); d.spent.isOver(fits[k].first) {
			few.Set(k, 0)
		}
	}
	return d.some(out)
}

// importance writes how much each draw counts, so that what is drawn more often counts less: 1 for the one that is drawn least.
func (o *lottery) importance(l *Law, into []float32) {
	least := float64(o.tree.Least())
	for i, weight := range o.drawn {
		into[i] = float32(math.Pow(float64(weight)/least, -l.Beta))
	}
}
