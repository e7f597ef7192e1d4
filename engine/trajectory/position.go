package trajectory

// Position is how far a sampler is.
type Position struct {
	Epoch  uint64 `json:"epoch"`  // of a shuffle
	Rows   int64  `json:"rows"`   // that the epoch is of
	At     int64  `json:"at"`     // the next one of them
	Random []byte `json:"random"` // state of what is random
	Spent  []byte `json:"spent"`  // how often each window was drawn, where that is bounded
	Draws  int64  `json:"draws"`  // that were made
	Began  int64  `json:"began"`  // how many steps there were at the first
}
