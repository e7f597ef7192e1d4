package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned when the log was closed before, or while, the call ran.
	ErrClosed = errors.New("wal: closed")
	// ErrFailed is returned, together with the cause, by every call that writes after a write or a sync has failed. Only
	// opening the log again ends this state: a second sync that succeeds proves nothing about the first.
	ErrFailed = errors.New("wal: failed, takes no more entries until it is opened again")
	// ErrTooLarge is returned when an entry is over Options.MaxEntryBytes, at Append and when it is read.
	ErrTooLarge = errors.New("wal: larger than MaxEntryBytes")
	// ErrCorrupt is returned when stored bytes are not what the log wrote and a crash cannot explain it.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrForeign is returned when a file in the directory belongs to another bucket or is no segment at all.
	ErrForeign = errors.New("wal: foreign file")
	// ErrUnsupportedVersion is returned when a sound segment was written in a format that this version does not know.
	ErrUnsupportedVersion = errors.New("wal: unsupported format version")
)

// SegmentError is a fault with its place. Err says what it is: ErrCorrupt, ErrForeign, ErrUnsupportedVersion, ErrTooLarge or
// the error of a file operation.
type SegmentError struct {
	Path    string
	Segment uint64
	Offset  int64 // bytes from the start of the file
	Err     error
}

// Error returns the fault with file and byte offset.
func (e *SegmentError) Error() string {
	return fmt.Sprintf("%v (%s, byte %d)", e.Err, e.Path, e.Offset)
}

// Unwrap returns Err.
func (e *SegmentError) Unwrap() error { return e.Err }

// GapError is returned by Open when the log begins after the rows that the table holds: the rows between are nowhere.
type GapError struct {
	Path  string // the oldest segment
	Next  int64  // the number of rows in the table
	First int64  // the first row in the log
}

// Error names the missing rows.
func (e *GapError) Error() string {
	return fmt.Sprintf("wal: rows %d to %d are missing: the log begins at row %d (%s)", e.Next, e.First-1, e.First, e.Path)
}

// Is makes a GapError match ErrCorrupt.
func (e *GapError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
