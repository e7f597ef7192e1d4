// Package blob keeps large values in segment files of equal size, from where they are read with one call into the caller's
// memory. It knows where blocks are, not which ones are wanted: what a store looks up, evicts and moves is its own matter.
//
// # Segment, format version 1
//
// Numbers are little-endian; checksums are CRC-32C. A page is 4,096 bytes. All segments of a store have the same size, which is
// reserved when the file is made; the name, such as 00000017.seg, is the slot. A segment is filled from the front to the back,
// and once its blocks are wanted no more it is filled anew under a later epoch, which makes all that was in it void.
//
//	page 0         what the segment is
//	page 1 ...     blocks: a page of header each, then the payload, then up to the next page what was there before
//	last page      page 0 once more, for the case that page 0 is damaged
//
// What the segment is:
//
//	byte  0  8  magic 89 "PBSG" 0d 0a 1a
//	      8  4  format version                  magic, version and checksum
//	     12  4  checksum of all that follows    are the same in every version
//	     16 16  identity of the store
//	     32  8  epoch: random in the low 24 bits, growing in the others
//	     40  8  size of the file
//	     48  8  seed of the store, for its hashes of keys
//	     56  4  slot
//	     60  4  ring that the store has it in
//
// Header of a block:
//
//	byte  0  8  magic 89 "PBLK" 0d 0a 1a
//	      8  4  checksum of all that follows up to the key's end, begun with that of the identity
//	     12  4  checksum of the payload
//	     16  8  epoch of the segment
//	     24  8  sequence: grows with each block of the store
//	     32  8  time of writing, Unix nanoseconds
//	     40  4  slot
//	     44  4  page that this is, counted from the start of the file
//	     48  4  length of the payload
//	     52  4  expiry, Unix seconds; 0 is never
//	     56  2  length of the namespace
//	     58  2  length of the salt
//	     60  2  length of the key
//	     62  2  flags: 1 = pinned
//	     64     namespace, salt, key
//	   4088  8  89 "PDEL" 0d 0a 1a once the block was replaced or deleted, zero before
//
// Slot, page and epoch make a header valid nowhere but where it was written, so that payloads that look like blocks, and blocks
// of earlier epochs, are never taken for blocks.
//
// # Reading
//
// A read brings the header with the first part of the payload, in one call, and compares epoch, place, namespace, key, length and
// both checksums. What does not fit is an [ErrBlock]; the caller's memory may hold anything then. A long payload may be divided
// among processors, whose checksums are joined. A block that is not in memory can be read past the page cache: into a buffer in
// huge pages, from where it is summed and copied. That leaves the cache to what is read again, and takes less of the processor.
//
// # Writing
//
// A long payload is summed and written in parts, each while the processor has it, and the first part comes last, in one call with
// the header: without a header there is no block. Those who write to one file take turns.
//
// # Concurrency
//
// All methods of a Segment may be called at the same time, but for Begin, which wants no other call that reads or writes blocks.
//
// # What a crash costs
//
// Of the process: blocks whose writing had not ended. Of the machine: what was written since the last Sync as well, and a segment
// that was made since then with its file. Either way a block is read as it was written or not at all.
//
// # Layers
//
// Above vfs. Below the stores of blocks, which know what a key is and which block is the newest of it.
package blob
