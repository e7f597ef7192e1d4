package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrPanic is returned by every call on a bucket after a panic in one of them, or in
// the bucket's own work. What is in memory may be half done, so it is not used any
// more; what was acknowledged is on disk, and is there when the bucket is opened
// again.
var ErrPanic = errors.New("engine: after a panic it takes no more calls: close it, and open it again")

// Panicked returns the error for what a panic was called with. It is to be called by
// the function that recovers, whose stack is part of it.
func Panicked(with any) error {
	return fmt.Errorf("%w: panic: %v\n%s", ErrPanic, with, debug.Stack())
}

// Contain makes an error of a panic in the function that defers it.
func Contain(err *error) {
	if with := recover(); with != nil {
		*err = errors.Join(*err, Panicked(with))
	}
}
