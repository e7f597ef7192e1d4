// Package ring is a ring buffer in a mapped file, through which a program hands puts to the engine without calling it. What is in
// the file survives the end of the process, however it ends, so a put is acknowledged as soon as it is there; the engine takes it
// out soon after, and gives the space back once the put is in the log.
//
// It brings what a call into the engine takes, and the threads that it wakes: a writer that awaits one record after the other, in a
// bucket whose log syncs once a second, puts 60,283 a second through the ring and 30,977 by calls, 1.95 times (medians of four pairs
// of processes in turns on two processors, wal_sync_interval 1.0 against 0.19, below which there is no ring). A bucket knows of it in
// one file, ring.go, which opens it, holds it and takes out what is there.
//
// One putter writes, one engine takes; both map the file. The putter is in another language: this package only takes. Others may look
// at what is in it meanwhile ([Peek]): they read the file, and once more where space was freed while they did.
//
// # File, format version 1
//
// Numbers are little-endian; checksums are CRC-32 as of zlib.
//
//	byte     0   8  magic 89 "PRNG" 0d 0a 1a
//	         8   4  format version
//	        12   4  checksum of bytes 16 to 63
//	        16  16  identity of the bucket
//	        32  16  identity of the boot of the machine, zeros if that is not known
//	        48   8  capacity: bytes of entries
//	        56   4  salt: random, where the checksums of entries begin
//	        60   4  flags: 1 = rows that left the ring are in a log
//	        64   8  head: the place behind the newest entry; the putter writes it when the entry is complete
//	       128   8  tail: the place of the oldest entry that is still needed; the engine writes it
//	       136   8  hold: not 0 while puts have to call the engine
//	       144   8  watched: not 0 while the engine looks for entries by itself
//	      4096   4  checksum of the preamble, begun with the salt
//	      4100   4  length of the preamble
//	      4104      preamble: how to read the messages
//	     65536      entries
//
// Head and tail count bytes from the beginning of time; an entry lies at its place modulo the capacity. It begins at a multiple of
// 8 and is never cut at the end of the file:
//
//	byte  0  4  checksum of the rest, begun with the salt
//	      4  4  length of the message; ffffffff: nothing more up to the end of the file
//	      8  8  rows
//	     16  8  offset of the first row
//	     24     message
//
// # Layers
//
// Above statefile, which knows the boot; below the bucket, and below inspect, which reads a ring that nobody has open.
//
// # Concurrency
//
// The putter and the engine share four words of the file, each written by one of the two and as a whole. The putter writes an entry
// before the head that says so, and the engine reads it after that; the engine writes the tail when it needs the entry no more, and the
// putter writes there after that. Nobody waits for the other.
//
// # What a crash costs
//
// Of the process: nothing, as the pages of a mapped file are the system's. Of the machine: what the system had not written by itself.
// Such a ring names another boot, and what it lacks is no damage then.
package ring
