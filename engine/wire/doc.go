// Package wire is what the stores that serve other processes have in common: where they listen, who may connect, and the frames
// that requests and answers are sent in. What a request means is the business of the package that serves.
//
//	Serve      listens, and hands each connection to who answers there
//	Frame      one request, one answer, or one piece of it
//
// # Layers
//
// Above engine; below kv/remote and trajectory/remote.
//
// # Concurrency
//
// A connection has a goroutine. The lock of a server is held for moments, and over no reading or writing.
//
// # What a crash costs
//
// Nothing here is on a disk, but for the name of a socket: one that a process has left is replaced.
package wire
