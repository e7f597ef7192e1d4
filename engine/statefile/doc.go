// Package statefile is what a store's directory needs beside its data: a lock that one opener holds, whether the directory
// still is the one that was locked and takes writes, and small files that are replaced as a whole and carry a checksum.
//
//	lock.go      LOCK, held by flock; holder.go: by whom
//	dir.go       a directory that is held, and refuses writes once one has failed or the directory is another's
//	file.go      small files that are replaced as a whole, those that were plain text once among them
//	register.go  such a file with a number for each of some names
//	gate.go      a lock that is shared or had alone, for moments; files that say what a living process does
//	path.go      where a path leads
//	boot.go      whether the machine was started again
//
// Who only reads looks at the directory, see [Looking], and has no lock.
//
// # Layers
//
// Above vfs and atfork; below every store.
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
// One goroutine at a time writes a file. [Dir] and [Register] may be used from any. The lock is the kernel's (flock): it is let
// go when its process ends, however it ends; a fork in C closes it in the child.
//
// # What a crash costs
//
// Nothing: after a crash a file holds what it held before the write or what was written, never a mixture. Damage is told as
// [ErrDamaged], never returned as content.
package statefile
