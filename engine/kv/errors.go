package kv

import (
	"errors"
)

var (
	// ErrClosed is returned when the store was closed before or during the call.
	ErrClosed = errors.New("kv: store is closed")

	// ErrInvalid is returned for arguments that make no sense.
	ErrInvalid = errors.New("kv: invalid argument")

	// ErrPinned is returned when pinned blocks would take more than half of the capacity.
	ErrPinned = errors.New("kv: pinned blocks would take more than half of the capacity")

	// ErrReadOnly is returned by what would change a store that was opened to be looked at.
	ErrReadOnly = errors.New("kv: store was opened read-only")

	// ErrNoStore is returned by Open, where it is to change nothing, for a directory without a store.
	ErrNoStore = errors.New("kv: there is no store")

	// ErrCorrupt is returned by Open when a directory holds segments, but none says what store they belong to.
	ErrCorrupt = errors.New("kv: store is corrupt")
)

var (
	// errFull is returned where no segment can be emptied: all are pinned, leased or in use.
	errFull = errors.New("kv: no segment can be emptied now")
	// errTooLong is of blocks that fit into no segment.
	errTooLong = errors.New("kv: block is longer than a segment")
)

// errDoubt is returned by a Delete of such a key.
var errDoubt = errors.New("kv: the disk has failed for this key before: a block of it may be found after a crash")
