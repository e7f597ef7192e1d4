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
