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
	trajectoryremote "github.com/persisting/persisting/engine/trajectory/remote"
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
	openSheet        = *trajectory.Sheet
	openSampler      = *trajectory.Sampler

	openTrajectoriesServer = *trajectoryremote.Server
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

// hold notes a call. It is made under the lock under which a handle ends: whoever shuts it either sees
// this call, and waits for it, or the call does not find it.
func (e *entry) hold() { e.users.Add(1) }

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

// find looks a handle up, and calls found with it before another can end it.
func (t *handleTable) find(k kind, id uint64, found func(*entry)) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if got := kind(id >> kindShift); got != k {
		return nil, fmt.Errorf("%w: %#x is not the handle of a %s", errHandle, id, k)
	}
	e, ok := t.entries[id]
	if !ok {
		return nil, fmt.Errorf("%w: there is no open %s %#x", errHandle, k, id)
	}
	found(e)
	return e, nil
}

// with calls f with what the handle stands for. Of several handles of a call the innermost is the one
// that a panic is blamed on, and can only be closed from then on.
func with[T any](k kind, id uint64, f func(T) error) (err error) {
	e, err := handles.find(k, id, (*entry).hold)
	if err != nil {
		return err
	}
	defer e.users.Done()
	// After the reference is taken, so that a close which comes now waits for this answer.
	if cause := e.broken.Load(); cause != nil {
		return *cause
	}
	if e.bucket != nil {
		if err := e.bucket.Broken(); err != nil { // maybe in its own work, that no call has seen
			return err
		}
	}
	defer e.contain(&err)
	return f(e.value.(T))
}

// shut ends a handle, calls f with what it stood for, and waits for the calls
// that still use it. The handle 0 is nothing to shut.
func shut[T any](k kind, id uint64, f func(T) error) (err error) {
	if id == 0 {
		return nil
	}
	// Calls that begin from now on do not find it.
	e, err := handles.find(k, id, func(*entry) { delete(handles.entries, id) })
	if err != nil {
		return err
	}
	defer e.users.Wait() // after f, which ends what those calls wait for
	defer e.contain(&err)
	return f(e.value.(T))
}
