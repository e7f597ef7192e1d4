// Package faultfs has file systems that fail on purpose, for tests of durable storage.
//
// Mem lives in memory and can crash: a random part of what was not synced is lost, entries of directories included. Hook sits in
// front of another file system, sees every operation before it happens and can make it fail, half way if it is a write.
//
// Disk is a real directory of a machine that loses its power: for what writes past the seam, as Lance does. It knows what was
// synced through it, and makes images of what the machine may find when it is switched on again.
//
// # Layers
//
// Above vfs, and used by the tests of all packages that write. It is no test file, so that they can share it.
//
// # Concurrency
//
// All may be used from several goroutines, as a file system is. The functions that a test gives to a [Disk] are called with its lock
// held, so that what they look at stands still; they must not use the disk themselves.
//
// # What a crash costs
//
// What a test wants it to cost: see [Mem.Crash] and [Disk.Image].
package faultfs
