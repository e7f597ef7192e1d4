// Package procs says how many things Go does at a time, where threads that wait for the disk are among them.
//
// Go runs as many goroutines as there are cores. One that is in a call of the kernel counts as running until a thread of the
// runtime finds, tens of microseconds later or some milliseconds, that it waits. On two cores two reads of a disk hold up all
// else: the third read, and the checking of what the first brought.
//
// # Layers
//
// Below all stores, above nothing.
//
// # Concurrency
//
// Everything may be called from any goroutine.
//
// # What a crash costs
//
// Nothing is written here.
package procs
