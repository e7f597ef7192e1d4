package params

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/persisting/persisting/engine"
)

var (
	// ErrClosed is returned when the store or the version was closed before the call.
	ErrClosed = errors.New("params: it is closed")

	// ErrInvalid is returned for arguments that make no sense.
	ErrInvalid = errors.New("params: invalid argument")

	// ErrNotFound is returned for a name, version, tag or tensor that does not exist.
	ErrNotFound = errors.New("params: not found")

	// ErrConflict is returned when a tag is not where the caller expects it, or keeps a version from being deleted.
	ErrConflict = errors.New("params: conflict")
)

// errSum is returned for a block that does not have its checksum.
var errSum = errors.New("the bytes are not those that were written")

// DamageError is an [engine.ErrCorrupt] with its place.
type DamageError struct {
	Path   string // of the file
	Offset int64  // in the file, of the block; -1 for the file as a whole
	Tensor string // empty where it is of none
	Reason string
}

func (e *DamageError) Error() string {
	text := "params: "
	if e.Tensor != "" {
		text += fmt.Sprintf("tensor %q: ", e.Tensor)
	}
	text += e.Path
	if e.Offset >= 0 {
		text += fmt.Sprintf(" at %d", e.Offset)
	}
	return text + ": " + e.Reason
}

// Unwrap returns [engine.ErrCorrupt].
func (e *DamageError) Unwrap() error { return engine.ErrCorrupt }

func damaged(path, format string, values ...any) error {
	return &DamageError{Path: path, Offset: -1, Reason: fmt.Sprintf(format, values...)}
}

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, values...))
}

// noSpace says whether a disk is full, or what one may use of it.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
