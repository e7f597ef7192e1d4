// Package bucket keeps buckets: ordered, append-only sequences of rows, each in
// one directory, whose files package layout lists.
//
// # Parts
//
//	Bucket    what callers see; each call is a few of its parts':         bucket.go, put.go, read.go, get.go, columns.go,
//	                                                                     delete.go, queries.go, versions.go, ...
//	  consumption  what tasks have consumed, in a journal of its own   marks.go
//	  presence  which rows have which columns: what tasks can consume     presence.go
//	  upkeep    compactions and retention: keeps the table small         upkeep.go, retention.go, background.go
//	  columns   changes what the rows are made of                        alter.go
//	  ingest    takes rows: by a call, or out of the ring                ingest.go, ring.go, append.go
//	  flusher   moves rows from memory into the table                    flush.go
//	  rows      the tail, and the version of the table that belongs      rows.go, tail.go, view.go, state.go
//	            to it; what a read sees
//	  core      where the bucket is, its options, its log and table      core.go
//
// A part knows those below it. An opening, which recovers a bucket, makes what they begin with (survey.go,
// replay.go, recover.go). No files depend on each other in a circle.
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
//	       -> Flush: Lance append, fsync of its files -> checkpoint moves, log is cut unless it is small
//	       -> stays in memory as a recent row until the cache budget drops it
//
// [Bucket.Read] takes a snapshot: a pinned version of the table for rows below
// the oldest row in memory, and the batches in memory for the others. Flush and
// compaction publish a new version under the same lock that readers take, so a
// read sees every row once, and neither waits for the other.
//
// # Concurrency
//
// All methods of [Bucket] may be called from any goroutine; the order of its locks stands at the type. Appends
// take their offsets one after the other; a change of the schema that needs
// Lance holds appends back, and Append with noWait says so instead of waiting.
// Four goroutines of the bucket flush, compact, look after its memory, and take
// puts out of the ring in the background.
//
// # Panics
//
// A panic in a call on a bucket, or in one of its goroutines, ends the use of that
// bucket and of no other, see [Bucket.Break]. So no lock may be held where a panic
// does not let go of it: what is more than an assignment is done between Lock and a
// deferred Unlock.
//
// # Order of writing
//
// bucket.json is on disk before anything else is there. A change of the table
// (flush, compaction, promotion) is on disk and marked, see package table, before
// the log is cut.
//
// # What a crash costs
//
// A change of the table that was not marked yet, see package table: its rows come
// back from the log. Fewer rows than the mark says, and no log where it says that
// there is one, are errors.
//
// A bucket is looked at as a whole before anything is changed. One that is refused is
// left as it is.
//
// Rows that were acknowledged by the log are read back from it when the bucket
// is opened, exactly once: replay starts at the table's next row id. Without a
// log the rows since the last flush are lost. See package wal for what an
// acknowledgement promises.
package bucket
