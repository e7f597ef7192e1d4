// Package engine holds the words that all stores share: the errors that callers tell apart. The stores
// and what they are made of are the packages below it:
//
//	bucket      log + tail + table: an ordered,       kv         blocks under keys in a directory
//	            append-only sequence of rows                     of bounded size
//	    |                                                 |
//	options     what can be chosen of a bucket        params     versions of tensors
//	tasks       what tasks have consumed of it            |
//	retention   which of its rows are kept            blob       large values in segment files
//	tail        its rows in memory
//	waker       who waits for them
//	inspect     what is in a bucket's directory; repair,
//	            clone
//	layout      what a bucket's directory is made of
//	    |
//	table       a Lance table that a crash cannot tear    ring       puts that call nobody
//	    |
//	batch       which batches can come together, and the messages in which they travel
//	    |
//	lance       tables of Lance, by way of the native half
//	journal     changes of something small, in a log with a snapshot before it
//	marks       which rows were marked, as sets of offsets
//	memory      arena and budget of memory
//	procs       how many goroutines run at a time
//	statefile   a store's directory: its lock, its small files
//	atfork      what a forked child must not keep
//
// A package imports only those below it; this one imports none, so that each of them can have its errors.
//
// # Concurrency
//
// There is nothing here that changes.
//
// # What a crash costs
//
// Nothing is written here.
package engine
