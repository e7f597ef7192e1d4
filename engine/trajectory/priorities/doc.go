// Package priorities knows how likely each of some rows is to be drawn.
//
//	priorities.go   what was given, as it was given; the records and the snapshot that keep it, see package journal
//	tree.go         weights of which one is found by a sum, for a sampler
//	peaks.go        numbers of which the largest are found first, for another
//
// # Format
//
// Numbers are little-endian. A record is a number of rows (uint32), their offsets (int64) and their priorities (float32). A snapshot is
// the priorities of all rows from the first on (float32), NaN for one that has none.
//
// # Layers
//
// Above nothing but the standard library; below trajectory.
//
// # Concurrency
//
// One goroutine at a time.
//
// # What a crash costs
//
// Nothing is on disk that this package writes: see package journal.
package priorities
