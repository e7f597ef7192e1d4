package trajectory

import (
	"errors"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/sheet"
	"github.com/persisting/persisting/metrics"
)

// counted counts and times an operation that began then, once it is known how it has ended.
func (s *Store) counted(o metrics.Operation, begun time.Time, err *error) {
	s.metrics.Done(o, time.Since(begun), kindOf(*err))
}

// appended is counted of an append.
func (s *Store) appended(begun time.Time, last bool, stored *int64, err *error) {
	s.counted(metrics.Append, begun, err)
	switch {
	case *err != nil:
	case last:
		s.metrics.Appended(0, *stored)
	default:
		s.metrics.Appended(*stored, 0)
	}
}

// sampled is counted of a sample, by a sampler that is at a place where it has an order.
func (s *Store) sampled(begun time.Time, l *Law, at int64, draws int, err error) {
	if err != nil {
		s.metrics.Done(metrics.Draw, 0, kindOf(err))
		return
	}
	s.metrics.Sampled(metrics.Drawn{Draws: int64(draws), Steps: int64(draws) * l.span() * max(1, l.Group)}, time.Since(begun))
	if l.Order == inOrder || l.Order == shuffled {
		s.mu.RLock()
		defer s.mu.RUnlock()
		s.behind.Store(max(0, s.index.visible-at))
	}
}

// kindOf is the kind of an error, none without one: of a fault of the caller, of damage, or of the disk.
func kindOf(err error) metrics.Kind {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrDuplicate), errors.Is(err, ErrTooEarly), errors.Is(err, engine.ErrReadOnly):
		return metrics.Refused
	case errors.Is(err, sheet.ErrDamaged):
		return metrics.Corrupt
	}
	switch kind := bucket.KindOf(err); kind {
	case metrics.Corrupt:
		return kind
	case metrics.Storage, metrics.Poisoned:
		return metrics.Storage
	}
	return metrics.Refused
}
