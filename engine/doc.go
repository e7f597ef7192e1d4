// Package engine keeps buckets: ordered, append-only sequences of rows, each in
// one directory.
//
//	{dir}/bucket.json   format version and identity of the bucket
//	{dir}/LOCK          held by flock; names the process that has the bucket open
//	{dir}/data.lance/   the Lance table
//	{dir}/wal/          the write-ahead log
//
// # Rows and offsets
//
// A row's offset is its place in the bucket: dense, from 0, never changed. It
// is the stable row id that Lance gives the row, so flush, compaction and
// changes of the schema leave it alone, and the number of rows that are durably
// in Lance is the next row id of the table.
//
// # Life of a row
//
//	Append -> log (written, group commit) -> acknowledged, visible, in the tail
//	       -> Flush: Lance append, fsync of its files -> checkpoint moves, log is cut
//	       -> stays in memory as a recent row until the cache budget drops it
//
// [Bucket.Read] takes a snapshot: a pinned version of the table for rows below
// the oldest row in memory, and the batches in memory for the others. Flush and
// compaction publish a new version under the same lock that readers take, so a
// read sees every row once, and neither waits for the other.
//
// # Concurrency
//
// All methods of [Bucket] and [Cursor] may be called from any goroutine. Appends
// take their offsets one after the other; a change of the schema that needs
// Lance holds appends back, and Append with noWait says so instead of waiting.
// Two goroutines of the bucket flush and compact in the background.
//
// # What a crash costs
//
// Rows that were acknowledged by the log are read back from it when the bucket
// is opened, exactly once: replay starts at the table's next row id. Without a
// log the rows since the last flush are lost. See package wal for what an
// acknowledgement promises.
package engine
