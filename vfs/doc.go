// Package vfs is the file system as durable storage needs it: files that are written in pieces, brought to the disk and made of
// reserved space, directories whose entries are synced. It is the lowest layer and imports nothing of the project.
//
// [OS] is the real one. Package faultfs has those that fail on purpose; everything that is written through an [FS] can be tested
// with them, at each operation and at each crash between two.
//
// # Concurrency
//
// An FS and its Files may be used by several goroutines at the same time, as the operating system's may.
//
// # What a crash costs
//
// What was not brought to the disk: the content of a file until Datasync, Sync or WriteSync, and a name, whether new, changed or
// removed, until SyncDir of its directory. MkdirAll is durable by itself.
//
// # Layers
//
// The lowest. Whoever writes something that has to last gets an [FS] from above, so that a test can give it another.
package vfs
