// Package sheet is rows in a mapped file: a program puts them there one by one, column by column, without calling the engine, and
// the engine takes many at once. What is in the file survives the end of the process, however it ends, so a row is acknowledged as
// soon as it is counted.
//
// A row that becomes a batch by itself costs some 500 us on its way through Arrow, the C boundary and the log; 64 of them that lie
// side by side cost little more than one. One writer fills a sheet; a store has as many as it has writers at a time. Package
// trajectory knows of it in one file, sheets.go.
//
// # File, format version 1
//
// Numbers are little-endian; the checksum is CRC-32C.
//
//	byte     0   8  magic 89 "PSHT" 0d 0a 1a
//	         8   4  format version
//	        12   4  checksum of bytes 16 to 63 and of the preamble
//	        16  16  identity of the boot of the machine, zeros if that is not known
//	        32   8  rows that there can be
//	        40   8  bytes of the values of each column of any length
//	        48   8  length of the preamble
//	        56   8  where the cells begin
//	        64   8  number of the episode; the putter writes it, as the following, before the first row
//	        72   8  place of the first row in the episode
//	        80   8  count of rows; the putter writes it when a row is complete, the engine writes 0 when it has them all
//	      4096      preamble: the columns, as the first message of an Arrow IPC stream
//
// The cells of a column are side by side as in Arrow, without bitmaps; each part begins at the next multiple of 64:
//
//	numbers, arrays of one shape     a value for each row; a boolean is a byte
//	lists, texts, bytes              4 bytes of 0; for each row where its items end, 4 bytes; then the items
//
// # Layers
//
// Above statefile, which knows the boot, and memory; below trajectory.
//
// # Concurrency
//
// The count is the only word that both sides write: the engine when the putter waits for it. It may look at the count at any time,
// and takes rows that were counted when it looked before, or when the putter called, so that what the putter stored for them has
// arrived.
//
// # What a crash costs
//
// Of the process: nothing, as the pages of a mapped file are the system's. Of the machine: all of it, as a sheet that names another
// boot may have some pages and not others.
package sheet
