package bucket

import (
	"errors"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// KindOf is the kind of an error of this package.
func KindOf(err error) metrics.Kind {
	var (
		options *engine.OptionError
		schema  *engine.SchemaError
		locked  *engine.LockedError
		gap     *wal.GapError
	)
	// The narrow ones first. What is left is the disk's, as the errors of file operations have no
	// class here.
	switch {
	case errors.As(err, &schema):
		return metrics.Schema
	case errors.As(err, &options), errors.Is(err, engine.ErrMessage), errors.Is(err, engine.ErrName), errors.Is(err, engine.ErrInvalid), errors.Is(err, segment.ErrTooLarge):
		return metrics.Invalid
	case errors.Is(err, engine.ErrNotFound), errors.Is(err, engine.ErrNoIndex):
		return metrics.NotFound
	case errors.Is(err, engine.ErrClosed):
		return metrics.Closed
	case errors.As(err, &locked):
		return metrics.Locked
	case errors.Is(err, engine.ErrCorrupt), errors.Is(err, segment.ErrCorrupt), errors.Is(err, segment.ErrForeign), errors.As(err, &gap):
		return metrics.Corrupt
	case errors.Is(err, engine.ErrPoisoned):
		return metrics.Poisoned
	}
	return metrics.Storage
}
