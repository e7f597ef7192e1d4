package trajectory

import (
	"math"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// podium is the priorities of rows, of which the highest, or the lowest, are drawn.
type podium struct {
	standing
	peaks priorities.Peaks
}

// never is below all priorities, and below all that are turned round.
var never = float32(math.Inf(-1))

// climb draws the windows of the highest priorities, or of the lowest, each once; of those with the same the oldest come first.
func (d *drawer) climb(x *index, count int, out []window) ([]window, error) {
	p, sign := &d.podium, float32(1)
	if d.law.Order == lowestFirst {
		sign = -1
	}
	p.catchUp(d, x, &p.peaks, never, func(row int64) float32 { return sign * d.ranks.known.At(row) })
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
