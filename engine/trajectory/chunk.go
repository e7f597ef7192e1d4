package trajectory

import "math"

const (
	chunkBits = 16
	chunkRows = 1 << chunkBits

	// nothing is what is behind a last observation: no row of its episode, ever.
	nothing = math.MaxUint32
)

// place is what is known of a row. It lies in one piece, as rows are asked for at random, and each array of its own would be another
// line of memory that is far away.
type place struct {
	episode uint32 // its number
	step    uint32 // which of the episode the row is
	next    uint32 // how far behind the next row of the episode is; 0 while there is none
}

// isLast says that the row is a last observation.
func (p *place) isLast() bool { return p.next == nothing }

// chunk is neighbouring rows.
type chunk [chunkRows]place
