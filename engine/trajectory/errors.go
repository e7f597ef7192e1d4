package trajectory

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is returned for arguments that make no sense.
	ErrInvalid = errors.New("trajectory: invalid argument")

	// ErrNotFound is returned for an episode or a store that does not exist.
	ErrNotFound = errors.New("trajectory: not found")

	// ErrConflict is returned where an episode is not in the state that the caller expects.
	ErrConflict = errors.New("trajectory: conflict")

	// ErrTooEarly is returned where a sampler is held back until more steps, or more draws, have come.
	ErrTooEarly = errors.New("trajectory: too early")

	// ErrDuplicate is returned where something else was stored in the same place.
	ErrDuplicate = errors.New("trajectory: stored before with other content")
)

// DuplicateError is an [ErrDuplicate] with its place.
type DuplicateError struct {
	Episode string
	Attempt int32
	Step    int64
	Column  string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("trajectory: step %d of episode %q, attempt %d, is there with another value in column %q; a new try of the episode takes a higher attempt", e.Step, e.Episode, e.Attempt, e.Column)
}

// Detail returns Step.
func (e *DuplicateError) Detail() int64 { return e.Step }

// Unwrap returns ErrDuplicate.
func (e *DuplicateError) Unwrap() error { return ErrDuplicate }

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, values...))
}

func conflict(format string, values ...any) error {
	return fmt.Errorf("%w: %w", ErrConflict, fmt.Errorf(format, values...))
}
