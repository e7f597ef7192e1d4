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

// importance writes how much each draw counts, so that what is drawn more often counts less: 1 for the one that is drawn least.
func (o *lottery) importance(l *Law, into []float32) {
	least := float64(o.tree.Least())
	for i, weight := range o.drawn {
		into[i] = float32(math.Pow(float64(weight)/least, -l.Beta))
	}
}
