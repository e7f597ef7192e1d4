package trajectory

import (
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

const prioritiesDir = "priorities"

// priorityBucket is the identity that segments of the journal carry: there is one in a store.
var priorityBucket = [16]byte{'p', 'r', 'i', 'o', 'r', 'i', 't', 'i', 'e', 's'}

// mostPriorities is the size of the journal at which all priorities are written as a whole.
const mostPriorities = 64 << 20

// recoverRanks reads the priorities, and forgets those of rows that were lost.
func (s *Store) recoverRanks() error {
	r := &s.ranks
	r.kept = journal.Kept{Most: mostPriorities, Options: wal.Options{
		Dir: filepath.Join(s.dir, prioritiesDir), FS: s.o.FS, Bucket: priorityBucket,
		SegmentBytes: 4 << 20, SyncInterval: s.o.SyncInterval, Logger: s.o.Logger,
	}}
	reading, err := journal.Read(r.kept.Options, &r.known)
	if err != nil || reading.Empty() {
		return err
	}
	beyond := r.known.Cut(s.index.rows)
	if s.o.ReadOnly {
		return nil
	}
	if err = r.kept.Begin(reading); err == nil && beyond {
		// Before other rows get these places.
		err = r.kept.Snapshot(&r.known)
	}
	return err
}

// Prioritize gives steps priorities, which are acknowledged as steps are. Those of steps that do not count any more are kept as well.
func (s *Store) Prioritize(offsets []int64, values []float64) (err error) {
	defer s.counted(metrics.Prioritize, time.Now(), &err)
	if s.o.ReadOnly {
		return engine.ErrReadOnly
	}
	given := make([]float32, len(values))
	s.mu.RLock()
	visible := s.index.visible
	s.mu.RUnlock()
	for i, value := range values {
		if given[i] = float32(value); !(value >= 0) || math.IsInf(float64(given[i]), 0) {
			return invalid("priority %g of offset %d: want a number of 0 or more that float32 can hold", value, offsets[i])
		}
		if offsets[i] < 0 || offsets[i] >= visible {
			return fmt.Errorf("%w: there is no step at offset %d", ErrNotFound, offsets[i])
		}
	}
	if len(values) == 0 {
		return nil
	}
	wait, err := s.ranks.rank(offsets, given)
	if err != nil {
		return err
	}
	if err := wait(); err != nil {
		return err
	}
	s.metrics.Prioritized(int64(len(values)))
	return nil
}

// Priorities are those of steps: of one that was given none the highest of all.
func (s *Store) Priorities(offsets []int64, out []float64) error {
	s.ranks.mu.RLock()
	defer s.ranks.mu.RUnlock()
	for i, offset := range offsets {
		if offset < 0 {
			return fmt.Errorf("%w: there is no step at offset %d", ErrNotFound, offset)
		}
		out[i] = float64(s.ranks.known.At(offset))
	}
	return nil
}
