package params

import (
	"errors"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
)

// counted counts and times an operation that began then, once it is known how it has ended.
func (s *Store) counted(o metrics.Operation, begun time.Time, err *error) {
	s.metrics.Done(o, time.Since(begun), kindOf(*err))
}

// kindOf is the kind of an error, none without one. What is left is the disk's, as the errors of file operations have no class here.
func kindOf(err error) metrics.Kind {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, engine.ErrCorrupt):
		return metrics.Corrupt
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrClosed):
		return metrics.Refused
	}
	return metrics.Storage
}
