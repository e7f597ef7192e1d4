// Package waker tells one who waits for a count to grow, once, without a goroutine that waits for it.
//
// The count is that of the acknowledged rows of a bucket, and who waits an event loop in another language: it asks for a number of rows
// and is called when they are there, or when no more will come. tests/test_wakes.py goes through each order in which a put, its
// acknowledgement and such a loop can meet.
//
// # Layers
//
// Above nothing but the standard library; below the bucket.
//
// # Concurrency
//
// All methods of [Waker] may be called from any goroutine. The function is called under the waker's lock, one call after the other: it
// must not wait, nor call the waker.
//
// # What a crash costs
//
// Nothing is on disk. Who waits ends with the process.
package waker
