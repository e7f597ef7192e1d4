package lance

import "C"

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrClosed is returned when a table, snapshot or reader is used after
	// Close or the last Release.
	ErrClosed = errors.New("lance: closed")
	// ErrInvalid is returned when an argument makes no sense.
	ErrInvalid = errors.New("lance: invalid argument")
	// ErrSchema is returned when columns do not fit the table, or cannot be
	// stored in one.
	ErrSchema = errors.New("lance: schema mismatch")
	// ErrCorrupt is returned when files of the table are missing or damaged.
	ErrCorrupt = errors.New("lance: corrupt table")
	// ErrConflict is returned when another writer's commit made this one void.
	ErrConflict = errors.New("lance: conflicting commit")
	// ErrInexact is returned when a cast would change a value.
	ErrInexact = errors.New("lance: cast is not exact")
	// ErrCancelled is returned when CancelIndexes ended the build of an index.
	ErrCancelled = errors.New("lance: cancelled")
	// ErrWouldBlock is returned when the disk is needed for what must not wait.
	ErrWouldBlock = errors.New("lance: would block")
	// ErrRowNotFound is returned when Take is asked for a row that is not there.
	ErrRowNotFound = errors.New("lance: no such row")
	// ErrIO is returned when the file system fails.
	ErrIO = errors.New("lance: input/output error")
	// ErrInternal is returned when the native library panicked or broke its own
	// rules.
	ErrInternal = errors.New("lance: internal error")
)

// Error is a failure reported by the native library. It unwraps to one of the
// package's errors, or to fs.ErrExist or fs.ErrNotExist.
type Error struct {
	Op  string // what was tried, as in "append"
	Dir string // the table's directory, when known
	Msg string
	Err error
}

func (e *Error) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("lance: %s: %s", e.Op, e.Msg)
	}
	return fmt.Sprintf("lance: %s %s: %s", e.Op, e.Dir, e.Msg)
}

// Unwrap returns the class of the error.
func (e *Error) Unwrap() error { return e.Err }

// classes maps pn_status codes; what is absent is internal.
var classes = map[int32]error{
	1:  ErrInvalid,
	2:  fs.ErrNotExist,
	3:  fs.ErrExist,
	4:  ErrSchema,
	5:  ErrIO,
	6:  ErrCorrupt,
	7:  ErrConflict,
	8:  ErrInexact,
	9:  ErrCancelled,
	10: ErrWouldBlock,
}

// in adds the directory to a native error.
func in(dir string, err error) error {
	// The native half knows paths of files and not whose table it is; the first to know adds it.
	if e, ok := err.(*Error); ok && e.Dir == "" { //nolint:errorlint // the outermost error is meant
		e.Dir = dir
	}
	return err
}
