package pack

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/persisting/persisting/engine"
)

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

// Damaged is a [DamageError] of a file as a whole.
func Damaged(path, format string, values ...any) error {
	return &DamageError{Path: path, Offset: -1, Reason: fmt.Sprintf(format, values...)}
}

// noSpace says whether a disk is full, or what one may use of it.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
