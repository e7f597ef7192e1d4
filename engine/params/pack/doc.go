// Package pack keeps objects, the bytes of tensors, in files that are written once, with the checksums of their blocks.
//
//	Create -> Writer.Put, Seal     Read     Hash     one goroutine fills a file | what a file has | the checksums of many objects
//
// # Layers
//
// Below engine/params, whose doc has the directory and what becomes of packs; above vfs and procs. Who reads objects knows their
// places from elsewhere, and asks a pack only for what it has.
//
// # Pack, format version 1
//
// Numbers are little-endian, checksums XXH3.
//
//	byte  0  8  magic 89 "PPAK" 0d 0a 1a
//	      8  4  format version
//	     12  4  zero
//	     16 16  identity
//	     32     zeros up to 4096
//	   4096     objects; of 64 KiB or more at 64 mod 4096, those below behind them at multiples of 64
//	      i     index: number of objects 8, place 8 and length 8 of each, then the checksums (128 bits) of all their blocks
//	 end-64  8  magic, 4 format version, 4 zero, 16 identity, 8 place and 8 length of the index, 16 checksum of index and trailer
//
// The file is a multiple of 4096 bytes long, so all of it can be written and read past the page cache. A tensor of torch lies at
// 64 mod 4096 in memory as a rule, which lets the disk read from it in a save. A block ends 64 bytes
// before a multiple of 1 MiB of its object, that is at a multiple of 4096 of the file.
//
// # Writing
//
// A writer never waits for the disk with an empty hand: while some requests are under way, the next is filled. What lies in memory
// as it will in the file is written from there, if that is past the page cache, and must stay as it is until the file is sealed.
//
// # Concurrency
//
// A [Writer] serves one goroutine. All else may be called from any.
//
// # What a crash costs
//
// A file that was not sealed, which has no end and is no pack.
package pack
