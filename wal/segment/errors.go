package segment

import (
	"errors"
	"fmt"
)

// The texts begin with the name of the log, whose files these are for those who read them.
var (
	// ErrTooLarge is returned when an entry is larger than its owner allows, at Append and when it is read.
	ErrTooLarge = errors.New("wal: larger than MaxEntryBytes")
	// ErrCorrupt is returned when stored bytes are not what was written and a crash cannot explain it.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrForeign is returned when a file in the directory belongs to another bucket or is no segment at all.
	ErrForeign = errors.New("wal: foreign file")
	// ErrUnsupportedVersion is returned when a sound segment was written in a format that this version does not know.
	ErrUnsupportedVersion = errors.New("wal: unsupported format version")
)

// Error is a fault with its place. Err says what it is: ErrCorrupt, ErrForeign, ErrUnsupportedVersion, ErrTooLarge or the error
// of a file operation.
type Error struct {
	Path    string
	Segment uint64
	Offset  int64 // bytes from the start of the file
	Err     error
}

// Error returns the fault with file and byte offset.
func (e *Error) Error() string {
	return fmt.Sprintf("%v (%s, byte %d)", e.Err, e.Path, e.Offset)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Corrupt returns an ErrCorrupt that says what is wrong.
func Corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
