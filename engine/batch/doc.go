// Package batch knows what a batch of rows is before it is anywhere: which columns can come together in one
// table, the messages in which batches travel, and what is made of several of them. It knows no disk.
//
//	columns.go   which columns a user may add, drop and name
//	declared.go  the only columns that there may be, where they were declared
//	schema.go    what a batch asks of the columns that are there; nulls for those that it lacks
//	message.go   record batch messages of the Arrow IPC format: checked before anything is believed of them
//	concat.go    one batch of many, without one in between for each
//	codec.go     the messages that the log holds; compress.go makes them smaller
//	rebase.go    arrays as arrow/go can write them
//	size.go      what rows take
//
// # Layers
//
// Above memory, which has the arena of the buffers, and lance, which knows what a table can store. Below the
// table, the log and the tail of a bucket, which hold batches.
//
// # Concurrency
//
// Batches and [MessageSchema] do not change and may be used from any goroutine. An [Encoder], a [Decoder] and a
// [Compressor] have one user at a time.
//
// # What a crash costs
//
// Nothing is written here. What is read was maybe written by a process that has crashed since, so that a message
// or a compressed body is refused, and never believed, where it is not what it says.
package batch
