// Package bucket keeps buckets: ordered, append-only sequences of rows, each in
// one directory.
//
//	{dir}/bucket.json   format version and identity of the bucket
//	{dir}/LOCK          held by flock; names the process that has the bucket open
//	{dir}/table.mark    the newest version of the table that is on disk; whether there is a log
//	{dir}/table.sums    checksums of the files of the table
//	{dir}/data.lance/   the Lance table; tags of its versions are in _refs/tags
//	{dir}/wal/          the write-ahead log
//	{dir}/consumers.json  offsets that consumers committed
//	{dir}/tags.json     versions that tags name
//	{dir}/times.json    when rows came into the table, see Options.RetentionAge
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
// Three goroutines of the bucket flush, compact, and look after its memory in the
// background.
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
// (flush, compaction, promotion) is announced in table.mark, made by Lance, which
// syncs nothing, and brought to disk: the files of the new version, then the
// directories that name them, then table.mark with the number of the version.
// Only then is the log cut, or a clean-up allowed to remove older versions.
//
// # What a crash costs
//
// A version of the table that table.mark does not name yet may be there and not
// be on disk as a whole: its files may even have the right sizes and zeros for
// content. Such versions are set aside when the bucket is opened, as are those
// that are damaged. The rows come back from the log. Damage to the version that
// table.mark names, fewer rows than it says, and no log where it says that there is
// one are errors.
//
// A bucket is looked at as a whole before anything is changed. One that is refused is
// left as it is.
//
// Rows that were acknowledged by the log are read back from it when the bucket
// is opened, exactly once: replay starts at the table's next row id. Without a
// log the rows since the last flush are lost. See package wal for what an
// acknowledgement promises.
package bucket
