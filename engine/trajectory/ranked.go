package trajectory

import (
	"slices"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// raffle draws windows by the weights of their first rows, each from a part of its own of the sum; where each is drawn a few times
// only, from all that is left of it.
func (d *drawer) raffle(x *index, count int, out []window) ([]window, error) {
	o := &d.lottery
	d.catchUp(&o.standing, x, &o.tree, 0, d.law.weights)
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

// climb draws the windows of the highest priorities, or of the lowest, each once; of those with the same the oldest come first.
func (d *drawer) climb(x *index, count int, out []window) ([]window, error) {
	p, sign := &d.podium, float32(1)
	if d.law.Order == lowestFirst {
		sign = -1
	}
	d.catchUp(&p.standing, x, &p.peaks, never, func() func(float32) float32 {
		return func(priority float32) float32 { return sign * priority }
	})
	var gone []int64
	p.peaks.Walk(func(row int64) bool {
		steps, later := d.window(x, row)
		switch {
		case steps > 0:
			out = d.spend(append(out, window{row, steps}), 1)
			count--
		case !later && d.law.oldest < 0:
			gone = append(gone, row)
		}
		return count > 0
	})
	for _, row := range gone {
		p.peaks.Set(row, never)
	}
	return d.some(out)
}
