package params

import (
	"errors"
	"fmt"
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

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, values...))
}
