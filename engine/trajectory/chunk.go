package trajectory

const (
	chunkBits = 16
	chunkRows = 1 << chunkBits
)

// chunk is neighbouring rows.
type chunk struct {
	episode [chunkRows]uint32
	step    [chunkRows]uint32
	next    [chunkRows]uint32 // how far behind the next row of the episode is; 0 for none
	last    [chunkRows]bool   // it is a last observation
}
