// Package kv is a store of blocks under keys in one directory of bounded size: the disk tier of a cache of attention keys and
// values, and of anything else that may be computed again. It may forget a block; it never returns bytes other than those that
// were set last.
//
//	Exists, Get, Set, Submit ...          any goroutine, or package remote for those of other processes
//	  |
//	transfer   loads | stores             bounded; loads have workers of their own, stores are shed
//	  |
//	index      hash of namespace and key -> slot, page, length, checksum; 38 to 40 bytes a key, no pointers
//	  |
//	rings      small | main | free        segments in the order in which they were begun; the oldest is emptied for the next
//	  |
//	blob       00000000.seg ...           header page and payload; checked at every read
//	catalog    checkpoint, journal-n      what the index was, so that opening does not read the segments
//
// # Directory
//
//	LOCK                 held by the process that has the store open
//	store                identity, seed of the hashes, size of the segments, capacity, dropped namespaces; replaced as a whole
//	00000000.seg ...     the blocks: package blob has the format
//	checkpoint           the index at some time; replaced as a whole
//	journal-00000001     changes of the index since then, in order; a checkpoint begins the next and removes those before
//
// All but the segments is derived. Where it is damaged or gone, opening reads the headers of the blocks, of a single segment if
// only that one's part of the checkpoint is damaged, of all otherwise.
//
// # Checkpoint and journal, format version 1
//
// Both are frames, one behind the other. Numbers are little-endian, checksums are CRC-32C.
//
//	byte  0  4  checksum of all that follows in the frame, begun with that of the store's identity
//	      4  4  length of the content
//	      8  2  kind
//	     10     content
//
//	kind  1 head      version 4, clean 4, first journal to replay 8, sequence 8, number of segments 4; begins a checkpoint
//	      2 owner     number 4, length of the namespace 4, namespace, salt
//	      3 quota     bytes 8, salt
//	      4 segment   slot 4, ring 4, epoch 8, pages used 4, entries 4, then 32 bytes for each entry, dead ones left out
//	      5 end       of a checkpoint
//	      6 publish   slot 4, epoch 8, sequence 8, entry 32; takes the place of what has the same hash
//	      7 dead      slot 4, epoch 8, page 4
//	      8 change    slot 4, epoch 8, page 4, expiry 4, pinned 4
//	      9 emptied   slot 4, epoch 8
//
//	entry: hash 8, page 4, length 4, checksum of the payload 4, expiry 4, owner and state 4, zero 4
//
// An owner is a namespace with a salt. Entries are found again by slot, epoch and page, so that a note of a block that was
// overwritten since has no effect. The end of a journal that a crash has torn is read from the segments.
//
// # Eviction
//
// A segment is emptied as a whole: what is worth it is written again into the main ring, the rest is forgotten, and the file is
// filled anew. Nothing is punched or compacted, and writes are sequential. With s3fifo, the default, first writes go to the small
// ring, 3/10 of the segments, and what was read there moves to the main ring; keys that were forgotten a short time ago go there at
// once. lru, lfu and fifo have the main ring only, and differ in what is worth it. A segment of which 2/5 or more are worth it stays
// as it is, as the newest of the main ring; of others those that were read most are moved, no more than 0.3 bytes for each that is
// set. Each turn halves the counts of reads. TestWhatIsWorthKeeping has the figures. Pinned blocks, and those with a
// lease, are moved in any case; a segment that has more than 1/2 of such, 3/4 if there is no other, is passed over. A segment is
// filled anew when the last reader has left it; nobody waits for that: a set that finds no segment fails.
//
// # Memory
//
// Blocks are read through the page cache where they are in it, and past it where they are not: most blocks are read from the disk
// once, into memory of the caller's that keeps them. One that was read so a short time ago is read through the cache the next time,
// and stays in it for those who come for it again. Nothing here keeps blocks in memory.
//
// # Opening
//
// What is read is in three layers, each newer than the one before: the checkpoint, the journals from the one that it names, and
// the headers of blocks that neither tells of. The last are at the end of the segments that were being filled, so that an opening
// after a crash reads few headers and one after Close none. The layers overlap, since a checkpoint is written while blocks are
// set, and each may repeat what the one before has said; what decides is the sequence of a block, never the order of reading.
//
// A damaged layer costs time and no more: a frame of the checkpoint that is not sound has its segment read by its headers, a
// checkpoint without its end has all of them read, and a journal that ends early has the open segments read from where the
// checkpoint has left them. So whatever is derived may be removed, and the answer stays the same.
//
// # Sets of one key
//
// Several may be on their way at once, on different workers. Each has a number, given when it was submitted, and the highest
// that has ended wins: a slower, earlier one ends as if it had been replaced at once. A delete takes a number as well, so that
// what was submitted before it does not come back after it. Numbers are kept only while something is on its way, and cost
// nothing afterwards.
//
// # Order of writing
//
// A set: the block; with sync "each", its fdatasync; the journal; the index; the dead mark of the block it replaces. A delete: the
// index; the journal; the dead mark. A segment is emptied: copies of what stays, each with the sequence of its block and with the
// key held, synced with the journal; its new epoch; the index. A checkpoint: the next journal is made; the
// segments are synced; the checkpoint is written, synced and renamed; the journals before are removed.
//
// # Locks
//
// recycle, then ring, then shard; key, then shard; key, then journal. No disk is waited for under a shard's lock, so Exists is as
// fast as memory whatever the disk does.
//
// # Looking
//
// With Options.ReadOnly a store is opened beside its owner, without a lock and without a write: from the checkpoint, the journals
// and the headers of blocks that these do not tell of, as after a crash of the owner at that moment. What the owner replaces or
// forgets afterwards no longer has its header, and is a miss there.
//
// # What a crash costs
//
// Of the process: blocks whose set had not returned. Of the machine: what was set in the last second or since the last Flush, and
// with sync "never" what the system had not written; with "each" nothing that had returned. Counts of reads since the last
// checkpoint, 30 seconds at most, and leases are lost with the process. In no case is an old, another or a damaged block read.
//
// # Failures
//
// A read that fails or finds something else is a miss, counted by cause, and the entry is dropped if what was found is not the
// block. A write that fails is a false; until a second has gone by, sets are refused without trying, so that a full or dying disk
// does not use up the segments. A journal that cannot be written is replaced with the next checkpoint, and sets fail until then.
// Nothing of this ends the process, and all of it ends when the disk works again.
//
// # Figures
//
// TestIndexSize, in processor time, since the two cores were shared with much else: of 10^6 keys in segments of 170 blocks, 32
// bytes each are entries, 6 are tables, and 9 more what a segment takes beside; a lookup takes 0.20 us, a full garbage collection
// 8 ms. TestOpeningOfManyKeys: 10^6 keys open in 0.29 s and take 41 bytes each of the process, garbage included.
package kv
