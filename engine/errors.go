package engine

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrClosed is returned when the bucket was closed before or during the call.
	ErrClosed = errors.New("engine: bucket is closed")

	// ErrWouldBlock is returned when the caller asked not to wait and the call
	// would have to: for a disk, a flush or a change of the schema.
	ErrWouldBlock = errors.New("engine: call would block")

	// ErrNotFound is returned when a row is asked for that does not exist.
	ErrNotFound = errors.New("engine: no such row")

	// ErrNoBucket is returned when there is no bucket in the directory.
	ErrNoBucket = errors.New("engine: no bucket")

	// ErrNoTable is returned when there is no Lance table in the directory.
	ErrNoTable = errors.New("engine: no Lance table")

	// ErrRemoved is returned for an offset whose row was removed.
	ErrRemoved = fmt.Errorf("%w: it was removed", ErrNotFound)

	// ErrName is returned for the name of a tag or of a consumer that cannot be one,
	// or is taken.
	ErrName = errors.New("engine: no such name can be given")

	// ErrNoIndex is returned when an index is named that does not exist.
	ErrNoIndex = errors.New("engine: no such index")

	// ErrInvalid is returned when a query or an index is asked for that makes no
	// sense, for the columns of the bucket or at all.
	ErrInvalid = errors.New("engine: invalid request")

	// ErrMessage is returned when a message is not a record batch with the columns
	// that it is said to have.
	ErrMessage = errors.New("engine: broken message")

	// ErrPoisoned is returned by writes after a write or an fsync failed. The
	// bucket can be read, and written again once it has been opened anew.
	ErrPoisoned = errors.New("engine: bucket refuses writes until it is opened again")

	// ErrReadOnly is returned by what would change a bucket that was opened for reading.
	ErrReadOnly = errors.New("engine: the bucket was opened for reading only; who writes opens it with PersistingBackend, one process at a time")

	// ErrDisowned is returned when the directory of an open bucket is no longer the one
	// that was opened: it was removed, moved or made anew. The bucket writes nothing
	// more, because what is there now is another's.
	ErrDisowned = errors.New("engine: the directory is no longer the one that was opened")

	// ErrCorrupt is returned when files of the bucket contradict each other.
	ErrCorrupt = errors.New("engine: bucket is corrupt")
)

// SchemaError is returned when a batch does not fit the columns of the bucket.
type SchemaError struct {
	Column string // name of the column; empty where the reason names it
	Reason string // what does not fit, with both types where there are two
}

func (e *SchemaError) Error() string {
	if e.Column == "" {
		return "engine: " + e.Reason
	}
	return fmt.Sprintf("engine: column %q: %s", e.Column, e.Reason)
}

// ExpressionError is returned for an SQL expression or filter that cannot be
// understood or computed.
type ExpressionError struct {
	Expression string
	Reason     string // what the parser said, with the place where it knows one
}

// shownExpression is the number of bytes of an expression that an error repeats.
const shownExpression = 1000

func (e *ExpressionError) Error() string {
	shown := e.Expression
	if len(shown) > shownExpression {
		shown = strings.ToValidUTF8(shown[:shownExpression], "") + " ..."
	}
	return fmt.Sprintf("engine: expression %q: %s", shown, e.Reason)
}

// RemovedError is an [ErrRemoved], and with it an [ErrNotFound].
type RemovedError struct {
	Offset int64
	First  int64 // the first offset after it whose row is left
	Left   bool  // whether there is one; else First is that of the next row to be put
}

func (e *RemovedError) Error() string {
	if !e.Left {
		return fmt.Sprintf("engine: the row at offset %d was removed, and no row is left after it: the next one gets offset %d", e.Offset, e.First)
	}
	return fmt.Sprintf("engine: the row at offset %d was removed: the first one left is at offset %d", e.Offset, e.First)
}

// Detail returns First.
func (e *RemovedError) Detail() int64 { return e.First }

// Unwrap returns ErrRemoved.
func (e *RemovedError) Unwrap() error { return ErrRemoved }

// LockedError is returned when another opener holds the directory of a store.
type LockedError struct {
	Path   string // the directory
	Holder string // such as "process 17 on host a"
	PID    int    // of that process, where the system knows it; else 0
	Here   bool   // it is this process
}

func (e *LockedError) Error() string {
	if e.Here {
		return fmt.Sprintf("engine: %s is open in this process already, by %s: close it first, and give each of several buckets, topics or stores a directory of its own", e.Path, e.Holder)
	}
	return fmt.Sprintf("engine: %s is open elsewhere, by %s: close it there, or end that process", e.Path, e.Holder)
}

// Detail returns PID.
func (e *LockedError) Detail() int64 { return int64(e.PID) }

// OptionError is returned for options that are unknown or out of range. It
// lists all faults.
type OptionError struct{ Faults []string }

func (e *OptionError) Error() string {
	msg := "engine: invalid options"
	for i, f := range e.Faults {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		msg += sep + f
	}
	return msg
}
