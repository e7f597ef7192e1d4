// Package table keeps a Lance table that a crash cannot tear.
//
// Lance makes a version of a table visible before it is on the disk, and syncs nothing. After a power failure its
// files can have their right sizes and zeros for content. [Table] makes a change in four steps, each of which begins
// when the one before has ended:
//
//	announce   table.mark says that there may be versions which are not on the disk as a whole
//	commit     Lance makes the version
//	sync       its files, then the directories that name them
//	mark       table.mark names the version, its manifest's checksum and the rows that there are
//
// What came of it is seen by reads once the owner has called [Table.Publish]: one that keeps rows in memory beside
// the table changes both in one moment, under a lock of its own.
//
// Another process sees the table that is marked: [Watch] and [Table.LookAgain] open that version with all its files, and change nothing.
//
// # Layout
//
//	{dir}/data.lance/   what Lance keeps; tags of its versions are in _refs/tags
//	{dir}/table.mark    see [Marker]
//	{dir}/table.sums    CRC-32C of the files, which a verification reads them against
//	{dir}/tags.json     versions that tags name
//
// # Layers
//
// Above lance, which reaches Lance and knows no disk; statefile, which holds the directory; and batch. Below the
// bucket, which is a log and a tail before a table, and below whatever needs a table without them: [Open] asks for
// nothing but a directory that is held.
//
// # Concurrency
//
// All methods may be called from any goroutine. Two locks are the owner's to hold, as what it does under them is more
// than one call: Reshaping, for what changes the make of the table and not its rows, and Growing, for what changes
// rows and columns. Appends take Growing alone, so that they go on beside a compaction. Who takes both takes Reshaping
// first. Within, the lock that brings one change at a time to the disk comes next, and the one of the fields last,
// which is held for assignments alone: an owner may call [Table.Newest] and [Table.Publish] with a lock of its own
// that all of its reads take.
//
// # What a crash costs
//
//	a crash here                 costs this
//	before the announcement      nothing: nothing was begun
//	before the mark              the change: open sets every version above the marked one aside, however sound it looks
//	after the mark               nothing
//	in a write of the mark       nothing: of its two slots the sound one with the higher number counts
//	in a clean-up                nothing: what it removes no version needs that is marked
//	in a write of the sums       that some files cannot be verified
//	before a tag is noted        the tag
//	after a tag is noted         nothing: open writes the file of Lance anew
//
// What was acknowledged and whose change a crash takes is the owner's to have elsewhere, as the bucket has it in its
// log. Damage to the version that the mark names is an error and never a smaller table.
package table
