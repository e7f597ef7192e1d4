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

// hugeBytes is how large the pages are that memory for large reads and writes is in, where the system has such.
const hugeBytes = 2 << 20

// Aligned returns memory at an address that is a multiple of [DirectAlign]. Large memory is in huge pages: a request to the disk
// has a part for each page, and so few parts that 4 MiB in small ones are several requests. Reads of 4 MiB past the page cache,
// eight at a time, took 0.8 GB/s into small pages and 2.4 into huge ones (ext4 over virtio).
func Aligned(size int) []byte {
	align := DirectAlign
	if size >= hugeBytes {
		align = hugeBytes
	}
	memory := make([]byte, size+align)
	skip := -int(Address(memory)) & (align - 1)
	memory = memory[skip : skip+size : skip+size]
	for at := 0; at+hugeBytes <= size; at += hugeBytes {
		intoHugePage(memory[at : at+hugeBytes])
	}
	return memory
}
