// Package journal keeps small changes of a state durable: each is a record of a log, and from time to time the state is written
// as a whole and the log begins anew.
//
//	{dir}/snapshot   the state at one time, see below; missing until the first one is taken
//	{dir}/*.wal      a log, see package wal, whose rows are the changes: record n is row n
//
// # Format of the snapshot
//
// A small file of package statefile. Its content is the number of the records that it holds, 8 bytes, little-endian, and the
// state, of which this package knows nothing.
//
// # Layers
//
// Above wal and statefile; below whoever has the state.
//
// # Concurrency
//
// [Journal.Append] and [Journal.Size] may be called from any goroutine, and records are in the order of the calls of Append.
// [Journal.Snapshot] and [Journal.Close] are called while nothing is appended.
//
// # What a crash costs
//
// What package wal promises of an acknowledged entry holds for a record. A snapshot is on disk before the log is cut, and says
// how many records it has, so that a crash between the two replays none twice. Damage in the middle of the log, of the snapshot,
// and a log that begins behind it, are errors, and nothing is changed; with wal.Salvage what can be read is kept.
package journal
