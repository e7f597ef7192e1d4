package trajectory

// window is steps that are drawn together: the row of the first, and how many there are.
type window struct{ first, steps int64 }
