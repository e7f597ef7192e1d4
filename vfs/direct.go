package vfs

import "unsafe"

// directFile is a File of a file system that can move bytes past the page cache.
type directFile interface {
	goDirect() (align int)
	cached(off, n int64) (bytes int64, known bool)
}

// GoDirect has reads and writes of a file go past the page cache from now on and returns what addresses, lengths and offsets
// must be multiples of then, at most [DirectAlign]. It returns 0 where that cannot be, and the file stays as it is.
func GoDirect(f File) (align int) {
	if direct, ok := f.(directFile); ok {
		return direct.goDirect()
	}
	return 0
}

// Cached returns how many of n bytes from off on are in the page cache, n where the system does not say.
func Cached(f File, off, n int64) int64 {
	if direct, ok := f.(directFile); ok {
		if bytes, known := direct.cached(off, n); known {
			return bytes
		}
	}
	return n
}

// Address is where bytes lie in memory.
func Address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// prefetchFile is a File of a file system that can read ahead.
type prefetchFile interface {
	prefetch(off, n int64)
}

// Prefetch has the system begin to read a part of a file into the page cache, where it can do so, and does not wait for it. What
// fails is told when that part is read.
func Prefetch(f File, off, n int64) {
	if ahead, ok := f.(prefetchFile); ok {
		ahead.prefetch(off, n)
	}
}

// DirectAlign is enough for every disk.
const DirectAlign = 4096
