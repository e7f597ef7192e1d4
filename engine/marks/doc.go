// Package marks knows which rows of a bucket each of some tasks has consumed.
//
//	set.go     offsets as bits
//	marks.go   a set for each task; the records and the snapshot that keep them, see package journal
//
// # Format
//
// Numbers are unsigned varints. A record is a kind and what it concerns:
//
//	1 mark    length of the task's name, the name, ranges
//	2 unmark  length of the task's name, the name: all of the task
//	3 clear   ranges, of every task
//	4 end     an offset: what is marked from there on is no longer
//
// Ranges are their number and, of each, how far it begins behind the end of the one before, and its length. The snapshot is the
// number of tasks and, of each, name and ranges as above.
//
// # Layers
//
// Above nothing but the standard library; below the bucket.
//
// # Concurrency
//
// One goroutine at a time.
//
// # What a crash costs
//
// Nothing is on disk that this package writes: see package journal.
package marks
