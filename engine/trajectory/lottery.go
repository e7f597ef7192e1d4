package trajectory

import (
	"math"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// lottery is the weights of rows by which a prioritized sampler draws.
type lottery struct {
	standing
	tree  priorities.Tree
	drawn []float32 // the weights of the last draws

	priority, power float32 // the last one, and its weight
}

// weight is that of a priority.
func (o *lottery) weight(l *Law, priority float32) float32 {
	if priority != o.priority || o.power == 0 { // many rows have the same
		o.priority, o.power = priority, float32(math.Pow(float64(priority)+l.Epsilon, l.Alpha))
	}
	return o.power
}

// raffle draws windows by the weights of their first rows, each from a part of its own of the sum; where each is drawn a few times
// only, from all that is left of it.
func (d *drawer) raffle(x *index, count int, out []window) ([]window, error) {
	o := &d.lottery
	o.catchUp(d, x, &o.tree, 0, func(row int64) float32 { return o.weight(d.law, d.ranks.known.At(row)) })
	o.drawn = o.drawn[:0]
	left := tries * (count + 1)
	for n := range count {
		u := d.random.Float64()
		if d.law.Times == 0 {
			u = (float64(n) + u) / float64(count)
		}
		for fits := false; !fits; u = d.random.Float64() {
			if left--; left < 0 || o.tree.Sum() == 0 {
				return d.raffleFew(x, count, n, out)
			}
			out, fits = d.pick(x, o.tree.Find(u*o.tree.Sum()), out)
		}
	}
	return out, nil
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
		u := d.random.Float64()
		if d.law.Times == 0 {
			u = (float64(n) + u) / float64(count)
		}
		k := few.Find(u * few.Sum())
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
