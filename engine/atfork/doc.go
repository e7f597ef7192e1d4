// Package atfork opens files that a forked child does not keep.
//
// A lock of flock belongs to the open file, which a child shares with the process that forked it. Without more, the child of
// a process that has died would go on holding its locks. A program that is executed is no such child: the descriptors are
// closed on exec. Nor can anything be done for one that was made without the fork of the C library.
package atfork
