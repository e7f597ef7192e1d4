package main

import (
	"fmt"
	"sync"
)

// kind is the noun that a handle stands for: its top byte.
type kind uint64

const (
	kindBucket  kind = 1
	kindCursor  kind = 2
	kindColumns kind = 3
	kindServer  kind = 4
	kindView    kind = 5
	kindKV      kind = 6

	kindShift = 56
)

func (k kind) String() string {
	switch k {
	case kindBucket:
		return "bucket"
	case kindCursor:
		return "cursor"
	case kindColumns:
		return "columns"
	case kindServer:
		return "server"
	case kindView:
		return "view"
	case kindKV:
		return "kv"
	}
	return fmt.Sprintf("kind %d", uint64(k))
}

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
}

func (t *handleTable) add(k kind, value any) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	id := uint64(k)<<kindShift | t.last
	t.entries[id] = &entry{value: value}
	return id
}

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

// with calls f with what the handle stands for.
func with[T any](k kind, id uint64, f func(T) error) error {
	handles.mu.Lock()
	e, err := handles.find(k, id)
	if err == nil {
		e.users.Add(1)
	}
	handles.mu.Unlock()
	if err != nil {
		return err
	}
	defer e.users.Done()
	return f(e.value.(T))
}

// shut ends a handle, calls f with what it stood for, and waits for the calls
// that still use it. The handle 0 is nothing to shut.
func shut[T any](k kind, id uint64, f func(T) error) error {
	if id == 0 {
		return nil
	}
	e, err := handles.remove(k, id)
	if err != nil {
		return err
	}
	defer e.users.Wait()
	return f(e.value.(T))
}
