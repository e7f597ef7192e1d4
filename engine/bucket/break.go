package bucket

import "github.com/persisting/persisting/engine"

// Break ends all use of the bucket, but for Close, after a panic that cause tells of.
// Those who wait for rows or for room are told.
func (b *Bucket) Break(cause error) {
	b.broken.CompareAndSwap(nil, &cause)
	_ = b.home.Refuse(cause)
	if b.log != nil {
		b.log.Abort(cause)
	}
	b.rows.alarm.end(b.rows.acknowledgedRows())
}

// Broken returns what Break was called with, nil if it was not.
func (b *Bucket) Broken() error {
	if cause := b.broken.Load(); cause != nil {
		return *cause
	}
	return nil
}

// breakOnPanic is deferred by what the bucket does of its own accord.
func (b *Bucket) breakOnPanic() {
	if with := recover(); with != nil {
		b.Break(engine.Panicked(with))
	}
}

// inBackground runs a loop that ends when b.stop is closed.
func (b *Bucket) inBackground(loop func()) {
	b.workers.Go(func() {
		defer b.breakOnPanic()
		loop()
	})
}
