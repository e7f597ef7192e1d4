// Package lance stores rows in one Lance table on a local file system: it opens
// the table with lancedb-go and does through native/ what lancedb-go lacks.
//
// # Rows
//
// A table is append-only. Lance gives every row a stable row id, counted 0, 1,
// 2, ... in the order of the appends and kept by compaction, casts and added
// columns: the row id is the row's offset. A [Snapshot] is one version of the
// table. It never changes, and it reads rows by row id and in row-id order,
// whatever order the table's fragments have got into:
//
//	fragments as Lance lists them       rows [0, 160) as a Snapshot reads them
//	  7: rows 120..129                    fragment 8, fragment 7, fragment 9
//	  8: rows   0..119   (a compaction that ran while fragment 7 was appended)
//	  9: rows 130..159
//
// # On disk
//
//	<name>.lance/
//	  _versions/*.manifest           one per version: schema, fragments, next row id
//	  _versions/*.manifest.corrupt   set aside by Heal
//	  _transactions/*.txn            how each version came to be
//	  data/*.lance                   columns
//	  _deletions/, _indices/         when there are any
//
// # Durability
//
// Nothing here calls fsync. A version is durable when the files that
// [ChangedFiles] names, and the directories that hold them, are synced; only
// then may the caller forget the rows elsewhere, or call [Table.Cleanup] after a
// compaction. A power loss before that leaves files of any length: [Heal], which
// runs before [Open], sets unsound versions aside, and the newest sound one
// becomes the head. Its [Snapshot.NextRowID] is where the rows end.
//
// # Beside another process
//
// [Hold] opens a version of a table that another process changes, with all its files; [Snapshot.InMemory] makes a table on top
// of it whose changes are in memory. Neither writes to the disk.
//
// # Concurrency
//
// All methods may be called from many goroutines. Appends and a compaction may
// run at the same time (Lance merges their commits), and a change of columns
// that a compaction overtakes is made again on top of it; a compaction that a
// change of columns overtakes fails with [ErrConflict] and is just run again
// some time. Appends, AddColumns and CastColumn should come from one goroutine
// at a time. Cleanup waits for writes in progress, holds up new ones, and leaves
// alone the versions that a Snapshot holds. Close waits for calls in progress.
// Snapshots and readers outlive their table. One process opens a table at a time.
//
// # Calls
//
// Each function of the native library is called in one place, by the method that needs
// it, through [native] or one of its kin: they bring the result and the error. What the
// c functions (cText, cIDs, ...) lend is memory of Go's for the time of the call, and
// what they give (cSchema, cRows) is consumed by it.
//
// # Memory
//
// Batches cross the boundary without a copy: what Append is given must lie outside
// the Go heap (imported, or in memory that was mapped), and what Read and Take
// return lies there until it is released. Tables with equal cache sizes share
// their caches.
//
// # Names and types
//
// Lance refuses some column names and forgets details of some types. Such a
// field is stored under an escaped name, with its original in the metadata key
// "persisting:field", and comes back as it was put. [CheckStorable] tells
// beforehand which types cannot be held at all, and [CheckValues] which JSON.
//
// # Linking
//
// The native library is loaded when it is first needed, or before, by [Preload]: that takes longer than all else that a process does
// for its first put, and stores without tables never need it. Until then each of its functions is a stand-in, in a file of C
// that build.py makes, for those that lancedb-go calls as well. libpersisting_native.so is looked for next to what is built
// from this package and in LD_LIBRARY_PATH, which go test needs: build.py puts the one there and sets the other.
//
// # Layers
//
// Above the native library, atfork, which loads it, and vfs for what a process has left of descriptors. Below batch, which asks what can be stored, and table,
// which syncs what is written here and decides which version counts.
//
// # What a crash costs
//
// Whatever was not synced, as nothing here is: see Durability.
package lance
