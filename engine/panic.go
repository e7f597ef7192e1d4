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

// contain makes an error of a panic in the function that defers it.
func contain(err *error) {
	if with := recover(); with != nil {
		*err = errors.Join(*err, Panicked(with))
	}
}

// Break ends all use of the bucket, but for Close, after a panic that cause tells of.
// Those who wait for rows or for room are told.
func (b *Bucket) Break(cause error) {
	b.broken.CompareAndSwap(nil, &cause)
	_ = b.poisonWith(cause)
	if b.log != nil {
		b.log.Abort(cause)
	}
	b.alarm.end(b.acknowledgedRows())
}

// Broken returns what Break was called with, nil if it was not.
func (b *Bucket) Broken() error {
	if cause := b.broken.Load(); cause != nil {
		return *cause
	}
	return nil
}

// breaking makes an error of a panic in the function that defers it, which the bucket
// does on a goroutine of its own, and ends all use of the bucket.
func (b *Bucket) breaking(err *error) {
	if with := recover(); with != nil {
		*err = Panicked(with)
		b.Break(*err)
	}
}

// breakOnPanic is deferred by what the bucket does of its own accord.
func (b *Bucket) breakOnPanic() {
	if with := recover(); with != nil {
		b.Break(Panicked(with))
	}
}

// inBackground runs a loop that ends when b.stop is closed.
func (b *Bucket) inBackground(loop func()) {
	b.workers.Go(func() {
		defer b.breakOnPanic()
		loop()
	})
}

// locked calls f with b.mu, of which a panic lets go.
func (b *Bucket) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}
