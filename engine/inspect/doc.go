// Package inspect says what is in the directory of a bucket, and what is wrong with it, and repairs one.
//
//	examine.go  the way of an open, without changing anything: every row that was on disk, and every fault with its place
//	repair.go   the way to a bucket that opens with as many of its rows as there are
//
// # Layers
//
// Above table, wal and ring, of which it reads the files, and layout, which has their names. It stands below the bucket,
// whose own tests hold what an open finds against what an examination says; a repair is given what opens the bucket at its end.
//
// # Concurrency
//
// Functions alone, each for one directory. [Examine] may run while another process has the bucket open: what is
// written at that moment looks damaged, but not twice, so they look again. [Repair] takes the lock.
//
// # What a crash costs
//
// An examination writes nothing. A repair can be begun again after a crash: each of its steps is
// found done, and what it set aside has a name of its own.
package inspect
