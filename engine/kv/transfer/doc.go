// Package transfer moves batches of blocks: it has the queues, the workers and the tickets that a store, which reads and writes
// its segments, and a client of a served one, which asks for each block over a connection, have in common.
//
//	Wait    the caller helps the workers with its batch, and goes on when that has ended
//	Submit  the caller goes on at once, with a ticket; a waker is called when there are tickets of batches that have ended
//
// It knows neither disk nor wire: what an item costs is done by the functions that [Mover.Start] is given. It stands below
// engine/kv and imports nothing of the project.
//
// # Concurrency
//
// All methods may be called from any goroutine. Loads and stores have queues and workers of their own, so that neither waits
// for the other. A queue is served first come, first served; a batch is divided among the workers that are free. No lock is held
// while an item runs, and none is taken for longer than it takes to move a number or a slice.
//
// # What a crash costs
//
// Nothing here outlives the process.
package transfer
