// Package segment is one file of a log: entries of opaque bytes, counted by rows, each of which is read back as it was written or
// not at all. It makes, writes and reads such files and says what is in one; what that means, whether a crash or damage left it so
// and what is done about it, is for the package that has a directory of them: package wal, and other stores like it.
//
// It stands above vfs and below all stores. A crash costs what was written to a file after its last sync, and of a file in the
// making all of it.
//
// # Concurrency
//
// A Segment belongs to one goroutine at a time. Sync alone may run beside the others that write: what was written and what is on
// disk are two counters, so that the disk is waited for while entries go on. Whoever closes the file keeps Sync away from it. A Scan
// and a Window belong to one goroutine.
//
// # Segment, format version 1
//
// Numbers are little-endian; checksums are CRC-32C. A segment is written from the front to the back by one process, and is zero
// behind its last record. It begins with a header of 128 bytes:
//
//	byte  0  8  magic 89 "PWAL" 0d 0a 1a
//	      8  4  format version                   magic, version, checksum and the length 128
//	     12  4  checksum of the other 124 bytes  are the same in every version
//	     16 16  identity of the bucket
//	     32  8  sequence number
//	     40  8  base: offset of the first row
//	     48  8  capacity: size of the file until it gets its end mark
//	     56  8  bytes in use in the segment before, its end mark included; 0 when there was none
//	     64  4  chain of the segment before
//	     68  4  salt: random, repeated in every record of the segment
//	     72  4  flags: 1 = made by a salvage: offsets, and the next sequence number, may jump forward
//	     76 52  zero
//
// Records follow, each at a multiple of 8: the preamble, then entries, then an end mark.
//
//	byte  0  4  checksum of bytes 4 to 47, begun with the record's place in the file / 8 in place of 0
//	      4  4  checksum of payload and padding
//	      8  4  salt
//	     12  4  kind: 1 preamble, 2 entry, 3 closed, 4 sealed
//	     16  8  length of the payload
//	     24  8  offset of the first row; in an end mark, of the row that would come next
//	     32  8  rows; 0 unless it is an entry
//	     40  8  promise: every byte of the file below this one was on disk when the record was written
//	     48     payload, then zeros up to a multiple of 8
//
// The chain of a segment is the checksum of its header, continued over the head checksums of all its records. The salt and the
// place make a record valid nowhere but where it was written, so that neither user data that looks like a log nor bytes of an
// older file are ever taken for records.
//
// End marks repeat the preamble as their payload. "Closed" is written by Close and by recovery; the only thing that may follow is
// "sealed", which says that the next segment exists.
//
// # Making
//
// A segment is made as .tmp with its preamble, at full size; then comes fsync, the rename, and fsync of the directory. So a name
// without .tmp stands for a file that was whole once, and what is wrong with it came later.
//
// # What a crash costs
//
// What was written since the last sync may be there in part. A record has a checksum of its head and one of its payload, so that a part
// of one is none; the promise in the records behind it tells whether a hole is what a crash can leave, or damage.
package segment
