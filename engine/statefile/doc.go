// Package statefile is what a store's directory needs beside its data: a lock that one opener holds, and small files that are
// replaced as a whole and carry a checksum.
//
// # Format of a small file, version 1
//
// Numbers are little-endian; checksums are CRC-32C.
//
//	byte  0  8  magic 89 "PSTA" 0d 0a 1a
//	      8  4  checksum of all that follows
//	     12  4  format version
//	     16  8  length of the content
//	     24     the content; the file ends with it
//
// # Concurrency
//
// One goroutine at a time writes a file. The lock is the kernel's (flock): it is let go when its process ends, however it ends.
//
// # What a crash costs
//
// Nothing: after a crash a file holds what it held before the write or what was written, never a mixture. Damage is told as
// [ErrDamaged], never returned as content.
package statefile
