package vfs

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func (f *osFile) goDirect() int {
	defer runtime.KeepAlive(f.File)
	flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
	if err != nil {
		return 0
	}
	// A flag of the open file, and not another open: the name may be another file's by now.
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags|unix.O_DIRECT); err != nil {
		return 0
	}
	align := f.directAlign()
	if align == 0 || align > DirectAlign { // what is not known to work is undone
		_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags)
		if err != nil {
			// It is on and cannot be taken back. Whoever goes by the largest alignment is right on
			// every disk.
			return DirectAlign
		}
		return 0
	}
	return align
}

// directAlign is what the file system says, DirectAlign where it is too old to, and 0 for one that does not do it.
func (f *osFile) directAlign() int {
	var about unix.Statx_t
	if err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &about); err != nil {
		return DirectAlign
	}
	// The kernel knows the question and the file system does not.
	if about.Mask&unix.STATX_DIOALIGN == 0 {
		return DirectAlign
	}
	return int(max(about.Dio_mem_align, about.Dio_offset_align))
}

// intoHugePage has memory, of which that is the size, become a huge page. Without one all goes on as well, and slower.
func intoHugePage(memory []byte) {
	memory[0] = 0 // the system collapses only what has a page
	_ = unix.Madvise(memory, unix.MADV_COLLAPSE)
}

func (f *osFile) cached(off, n int64) (bytes int64, known bool) {
	defer runtime.KeepAlive(f.File)
	var seen unix.Cachestat_t
	if n == 0 {
		return 0, true
	}
	if err := unix.Cachestat(uint(f.fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &seen, 0); err != nil {
		return 0, false
	}
	// Pages count as a whole, and the range may begin and end inside one.
	return min(n, int64(seen.Cache)*int64(os.Getpagesize())), true
}

func (f *osFile) prefetch(off, n int64) {
	defer runtime.KeepAlive(f.File)
	_ = unix.Fadvise(f.fd, off, n, unix.FADV_WILLNEED) // a hint: a file system that takes none has nothing to tell
}
