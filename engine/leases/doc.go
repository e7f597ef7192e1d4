// Package leases knows which batches of rows were given out to be consumed, which of them were, and how that was at some times that
// have names.
//
// A batch is open from its lease until it is acknowledged. A tag names a time; to return to it opens the batches again that were
// acknowledged since, which is what a program needs that goes back to a state of its own of that time. So what was acknowledged is
// kept from the oldest tag on.
//
// # Format
//
// Numbers are unsigned varints. A record is a kind and what it concerns:
//
//	1 lease    number of the batch, task, offsets
//	2 ack      number of the batch
//	3 tag      name
//	4 untag    name
//	5 return   name of a tag: those of later times are gone
//	6 forget   number of a batch that is kept: its rows are lost
//
// Names are their length and their bytes; offsets are their count and, of each, the zigzag of how far it is from the one before. The
// snapshot is the number of the next batch; how many were acknowledged; the count of tags and, of each, its name and how many were
// by then; the count of the batches that are kept and, of each, its number, its task, which acknowledgement was its own (0: none),
// and its offsets.
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
package leases
