// Package tail keeps the newest rows of a bucket in memory: those that are not in the table yet and, below them, recent ones that
// are there as well.
//
//	chunk.go   a batch of rows at its offsets, and batches made of many
//	packed.go  small messages that nobody has read yet
//	tail.go    the chunks in a row: what comes, is read, becomes fewer and goes
//
// A tail is one run of rows without a hole. Rows come at its end, one append after the other, and go at its beginning, as the table
// gets them and memory is wanted. What becomes of them in between changes how many chunks there are and never a row or an offset:
// messages become columns when they are read, and small batches one.
//
// # Layers
//
// Above batch, which knows what a batch is. Below the bucket, which says when rows are acknowledged and flushed, and how much
// memory they may take. Nothing here knows of a log, a table or a disk.
//
// # Concurrency
//
// The owner holds a lock of its own for every method of a [Tail]: the bucket changes the tail and the version of the table that
// belongs to it in one moment, so that a read sees each row once. What takes long is done without that lock, on chunks that were
// taken out by [Tail.Slice], and comes back by [Tail.Replace], which drops it where the rows have gone meanwhile.
//
// A [Chunk] that has a record does not change; its record is released by whoever was given it.
//
// # What a crash costs
//
// All of it. What was acknowledged is in the log as well, or in the table.
package tail
