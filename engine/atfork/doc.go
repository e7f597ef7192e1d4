// Package atfork does what a fork must not come into: it opens files that a forked child does not keep, and loads libraries.
//
// A lock of flock belongs to the open file, which a child shares with the process that forked it. Without more, the child of
// a process that has died would go on holding its locks. A program that is executed is no such child: the descriptors are
// closed on exec. Nor can anything be done for one that was made without the fork of the C library.
//
// # Layers
//
// Above nothing of the project; below statefile, whose locks are opened by it, and lance, whose library it loads. It is in C, since a handler of pthread_atfork runs in a
// child in which no Go code may.
//
// # Concurrency
//
// All may be called from any goroutine. They hold one mutex of C, which a fork takes as well: so no fork comes between the
// opening of a file and the note of it, a child closes all that is noted, and it never finds a library that is half loaded.
//
// # What a crash costs
//
// Nothing is on disk that this package writes. The kernel closes what a process had open, however it ends.
package atfork
