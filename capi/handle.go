package main

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/remote"
	"github.com/persisting/persisting/engine/params"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/metrics/exporter"
)

// What handles stand for.
type (
	openBucket   = *bucket.Bucket
	openCursor   = *table.Cursor
	openColumns  = *batch.MessageSchema
	openServer   = *exporter.Server
	openView     = *table.View
	openKV       = kv.Blocks
	openKVServer = *remote.Server
	openParams   = *params.Store
	openWeights  = *params.Weights

	openTrajectories = *trajectory.Store
	openSampler      = *trajectory.Sampler
)

// kindShift is where the kind of a handle begins.
const kindShift = 56

// handles is the table of what C callers hold. Numbers are never used again.
var handles = handleTable{entries: map[uint64]*entry{}}

type handleTable struct {
	mu      sync.Mutex
	last    uint64
	entries map[uint64]*entry
}

// entry is an open handle. Calls that use it hold a reference.
type entry struct {
	value any
	users sync.WaitGroup

	bucket *bucket.Bucket        // the value, if that is one
	broken atomic.Pointer[error] // by a panic in a call on it
}

// fault returns why the handle can only be closed, nil if it can be used. A bucket
// may have broken in its own work.
func (e *entry) fault() error {
	if e.bucket != nil {
		return e.bucket.Broken()
	}
	if cause := e.broken.Load(); cause != nil {
		return *cause
	}
	return nil
}

// contain is deferred by a call on the handle: a panic in it ends the use of this
// handle, and of no other.
func (e *entry) contain(err *error) {
	with := recover()
	if with == nil {
		return
	}
	*err = engine.Panicked(with)
	e.broken.CompareAndSwap(nil, err)
	if e.bucket != nil {
		// The bucket has work of its own that goes on with what the call has left half done.
		e.bucket.Break(*err)
	}
}

// add makes a handle. The counter has 56 bits, which nobody uses up; so a handle that was closed is never taken for a later one.
func (t *handleTable) add(k kind, value any) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	// One counter for all kinds: even if the top byte were lost, no number would be another
	// handle's.
	id := uint64(k)<<kindShift | t.last
	e := &entry{value: value}
	e.bucket, _ = value.(*bucket.Bucket)
	t.entries[id] = e
	return id
}

// live is the number of open handles, as the metrics tell it: one that grows is a leak of the caller.
func (t *handleTable) live() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// remove ends a handle: calls that begin from now on do not find it.
func (t *handleTable) remove(k kind, id uint64) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find(k, id)
	if err == nil {
		delete(t.entries, id)
	}
	return e, err
}

// find looks a handle up. The caller holds t.mu.
func (t *handleTable) find(k kind, id uint64) (*entry, error) {
	if got := kind(id >> kindShift); got != k {
		return nil, fmt.Errorf("%w: %#x is not the handle of a %s", errHandle, id, k)
	}
	e, ok := t.entries[id]
	if !ok {
		return nil, fmt.Errorf("%w: there is no open %s %#x", errHandle, k, id)
	}
	return e, nil
}

// use looks a handle up for a call, which calls users.Done at its end.
func (t *handleTable) use(k kind, id uint64) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find(k, id)
	if err == nil {
		// Under the lock under which a handle ends: whoever shuts it either sees this call, and
		// waits for it, or the call does not find it.
		e.users.Add(1)
	}
	return e, err
}

// with calls f with what the handle stands for.
func with[T any](k kind, id uint64, f func(T) error) (err error) {
	e, err := handles.use(k, id)
	if err != nil {
		return err
	}
	defer e.users.Done()
	// After the reference is taken, so that a close which comes now waits for this answer.
	if err := e.fault(); err != nil {
		return err
	}
	defer e.contain(&err)
	return f(e.value.(T))
}

// beside is with for a second handle of a call, which a panic is not blamed on.
func beside[T any](k kind, id uint64, f func(T) error) error {
	e, err := handles.use(k, id)
	if err != nil {
		return err
	}
	defer e.users.Done()
	return f(e.value.(T))
}

// shut ends a handle, calls f with what it stood for, and waits for the calls
// that still use it. The handle 0 is nothing to shut.
func shut[T any](k kind, id uint64, f func(T) error) (err error) {
	if id == 0 {
		return nil
	}
	e, err := handles.remove(k, id)
	if err != nil {
		return err
	}
	defer e.users.Wait() // after f, which ends what those calls wait for
	defer e.contain(&err)
	return f(e.value.(T))
}
