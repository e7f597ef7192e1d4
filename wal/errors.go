package wal

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/wal/segment"
)

var (
	// ErrClosed is returned when the log was closed before, or while, the call ran.
	ErrClosed = errors.New("wal: closed")
	// ErrFailed is returned, together with the cause, by every call that writes after a write or a sync has failed. Only
	// opening the log again ends this state: a second sync that succeeds proves nothing about the first.
	ErrFailed = errors.New("wal: failed, takes no more entries until it is opened again")
)

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

// Is makes a GapError match segment.ErrCorrupt.
func (e *GapError) Is(target error) bool { return target == segment.ErrCorrupt }
