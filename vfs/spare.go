package vfs

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A process may have only so many files open. Where one more is needed in the middle of something, as for the next segment of a
// log, that must not fail: what is half done can only be given up. So some descriptors are held back, and given away for that.
// As long as they have not come back, nothing new is begun.
const spareDescriptors = 8

var spares spareFiles

type spareFiles struct {
	full  atomic.Bool
	mu    sync.Mutex
	files []*os.File
}

// SpareDescriptors returns an error like that of a system that has no descriptor left, unless those that are held back for what
// has begun are there, or can be had.
func SpareDescriptors() error {
	// Asked for each put: an atomic, and no lock.
	if spares.full.Load() {
		return nil
	}
	return spares.fill()
}

// fill opens what is not there, or was given away.
func (s *spareFiles) fill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.files) < spareDescriptors {
		// A file that is always there and takes nothing but the descriptor.
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
	}
	s.full.Store(true)
	return nil
}

// give closes one, and says whether there was one.
func (s *spareFiles) give() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return false
	}
	s.full.Store(false)
	last := len(s.files) - 1
	_ = s.files[last].Close() // nothing was written
	s.files = s.files[:last]
	return true
}

// NoDescriptor says whether an error is that of a process, or a system, that may open no more files.
func NoDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

const (
	spareTries = 200
	sparePause = 5 * time.Millisecond // until others have closed what they needed for a moment
)

// opened opens a file, with a descriptor that was held back if need be.
func opened(path string, mode int, permissions os.FileMode) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := os.OpenFile(path, mode, permissions)
		if err == nil || !NoDescriptor(err) || try == spareTries {
			return f, err
		}
		// All were given away. What was begun with them ends soon, and gives its own back.
		if !spares.give() {
			time.Sleep(sparePause)
		}
	}
}
