// Package bucket keeps buckets: ordered, append-only sequences of rows, each in
// one directory, whose files package layout lists.
//
// # Parts
//
//	Bucket    what callers see; each call is a few of its parts':         bucket.go, put.go, read.go, get.go, columns.go,
//	                                                                     delete.go, queries.go, versions.go, ...
//	  tasks     what tasks have consumed, and can: of a package of its    tasks.go
//	            own, that reads the bucket
//	  upkeep    compactions and retention: keeps the table small         upkeep.go, retention.go, background.go
//	  columns   changes what the rows are made of                        alter.go
//	  ingest    takes rows: by a call, or out of the ring                ingest.go, ring.go, append.go
//	  flusher   moves rows from memory into the table                    flush.go
//	  rows      the tail, and the version of the table that belongs      rows.go, view.go, state.go
//	            to it; what a read sees
//	  follower  has the rows of a bucket that another process has open   follow.go, in place of all above but rows
//	  core      where the bucket is, its options, its log and table      core.go
//
// A part knows those below it. An opening puts them together (open.go); it recovers a bucket, and makes what they begin
// with (survey.go, replay.go, recover.go). No files depend on each other in a circle.
//
// What needs no bucket is a package of its own: options has what can be chosen, tail the rows in memory, retention
// says which are kept, tasks what was consumed of them, and waker tells who waits for them.
//
// # Rows and offsets
//
// A row's offset is its place in the bucket: dense, from 0, never changed. It
// is the stable row id that Lance gives the row, so flush, compaction and
// changes of the schema leave it alone, and the number of rows that are durably
// in Lance is the next row id of the table.
//
// # What is derived and kept all the same
//
// rows.checkpoint is the end of the version that was published together with the tail, and not that of the newest
// version: a compaction publishes by itself, and what it publishes may have the rows of a flush that has committed and
// not changed the tail yet. Taken from the newest version, the checkpoint would be ahead of the tail for a moment.
//
// rows.unflushed is the size of the chunks from the checkpoint on. Each append asks for it, and the chunks may be
// thousands.
//
// ingest.fits and fitted say that two schemas were compared and are the same. A put of a row takes less than such a
// comparison.
//
// The number of the schema stands for the schema in cursors and in the other language, which compare it for each batch.
//
// # Life of a row
//
//	Append -> log (written, group commit) -> acknowledged, visible, in the tail
//	       -> Flush: Lance append, fsync of its files -> checkpoint moves, log is cut unless it is small
//	       -> stays in memory as a recent row until the cache budget drops it
//
// [Bucket.Read] takes a snapshot: a pinned version of the table for rows below
// the oldest row in memory, and the batches in memory for the others. A flush
// publishes its version under the lock that readers take, together with the tail
// that belongs to it, so a read sees every row once, and neither waits for the
// other. A compaction needs no such moment: its version has the same rows.
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
// # Reading beside the owner
//
// [OpenReadOnly] opens a bucket that another process has open, or nobody. It has the rows, a [wal.Follower] and a table that is
// watched; it writes nowhere and takes no lock. Each call looks at what the owner has done since the last one, and sees all
// that was acknowledged before it began.
//
// A row goes from the ring into the log and from there into the table, and leaves a place only once it is in the next: the
// ring when the log has it, the log when the mark names a version of the table that has it. So a look reads
//
//	mark -> table, where the mark names another version -> ring -> log -> mark
//
// and begins anew where the mark has moved meanwhile. Otherwise no row has left the log for the table since it was first read, and what
// has left the ring was in the log when that was read: each row is in the table of that mark, or in what was read of the log, or of
// the ring. The offsets tell which are the same, and that none is missing between: a hole is damage, as it is for an opening.
// All of it is shown in one moment, under the lock that reads take.
//
//	what the owner does           what a look makes of it
//	writes an entry, or dies      an entry that is there in part was not acknowledged: the log ends before it
//	seals a segment, begins one   goes on in the one that continues it, by its chain
//	cuts the log                  the segment is gone, and the log is read anew behind the table
//	takes back what failed        the last record that was read is not there: the log is read anew
//	drains, or removes, the ring  its words have moved: it is read anew
//	flushes, removes rows,        the mark has moved: another version is opened, with all its files, which stay
//	changes columns, restores     readable when a clean-up removes them
//	commits and did not mark yet  not seen: that version does not count
//	closes, is killed, reopens    as all of these
//
// What an owner replaces or removes at that moment can look like damage, but not for long: a look that failed is
// taken again, 8 times within 40 ms, before its error counts. A repair that goes back to an older version, and
// a directory that is made anew, end the use of a reader with [engine.ErrDisowned].
//
// A query runs on the newest version of the table where that has all rows, and else on one in memory, made of it and of the
// rows that it lacks. What is in the memory of the owner alone, as rows are in a bucket without a log, is not seen.
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
//
// # Layers
//
// Above all that it is made of: table, tail, tasks, retention, waker, ring, layout, options and the log. Below capi, which converts what
// callers in other languages give and get, and nothing else. Package inspect stands beside it: it reads the same files without a bucket,
// and is given [Salvage] for the end of a repair.
package bucket
