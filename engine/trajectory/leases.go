package trajectory

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/leases"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

const (
	leasesDir = "leases"

	leasesSegmentBytes = 4 << 20
	// leasesBytes is the size of the journal at which all is written as a whole.
	leasesBytes = 16 << 20
)

// Lease gives steps out as a batch of a task and returns its number: it is pending until it is acknowledged, whatever becomes of the
// process.
func (s *Store) Lease(task string, offsets []int64) (number int64, err error) {
	defer s.counted(metrics.Lease, time.Now(), &err)
	if len(offsets) == 0 {
		return 0, invalid("a batch has steps; there are no offsets")
	}
	counts := make([]bool, len(offsets))
	s.AreSteps(offsets, counts)
	if i := slices.Index(counts, false); i >= 0 {
		return 0, fmt.Errorf("%w: offset %d is of no step of an episode that counts", ErrNotFound, offsets[i])
	}
	err = s.note(func(l *leases.Leases) ([]byte, error) {
		number = l.Next()
		return l.LeaseRecord(task, offsets), nil
	})
	if err == nil {
		s.metrics.Leased(int64(len(offsets)))
	}
	return number, err
}

// Ack notes that a batch was consumed. To say so again does nothing.
func (s *Store) Ack(number int64) (err error) {
	defer s.counted(metrics.Ack, time.Now(), &err)
	acked := false
	err = s.note(func(l *leases.Leases) ([]byte, error) {
		if number < 0 || number >= l.Next() {
			return nil, fmt.Errorf("%w: there is no batch %d", ErrNotFound, number)
		}
		if l.Open(number) == nil {
			return nil, nil
		}
		acked = true
		return leases.AckRecord(number), nil
	})
	if err == nil && acked {
		s.metrics.Acked()
	}
	return err
}

// Pending is a batch that was given out and not acknowledged.
type Pending struct {
	Batch   int64   `json:"batch"`
	Task    string  `json:"task"`
	Offsets []int64 `json:"offsets"`
}

// Pending returns the batches that were not acknowledged, in the order in which they were given out.
func (s *Store) Pending() []Pending {
	s.lent.mu.Lock()
	defer s.lent.mu.Unlock()
	open := []Pending{}
	for _, b := range s.lent.known.Pending() {
		open = append(open, Pending{b.Number, b.Task, b.Offsets})
	}
	return open
}

// Tag gives a name to what is acknowledged now, which is on disk when it returns; a tag of that name is moved.
func (s *Store) Tag(name string) (err error) {
	defer s.counted(metrics.Tag, time.Now(), &err)
	if name == "" {
		return invalid("the name of a tag is empty")
	}
	// The steps first: nothing that a tag tells of may be lost.
	err = errors.Join(s.steps.Sync(), s.episodes.Sync())
	if err == nil {
		err = s.note(func(*leases.Leases) ([]byte, error) { return leases.TagRecord(name), nil })
	}
	if err != nil {
		return err
	}
	return s.syncLent()
}

// Untag takes a tag away.
func (s *Store) Untag(name string) error { return s.noteTagged(name, leases.UntagRecord) }

// Restore has the batches pending again that were acknowledged since a tag, and takes the tags away that came after it. Steps stay.
func (s *Store) Restore(name string) (err error) {
	defer s.counted(metrics.Restore, time.Now(), &err)
	if err := s.noteTagged(name, leases.ReturnRecord); err != nil {
		return err
	}
	return s.syncLent()
}

// Tags returns the names of tags, the oldest first.
func (s *Store) Tags() []string {
	s.lent.mu.Lock()
	defer s.lent.mu.Unlock()
	return append([]string{}, s.lent.known.Tags()...)
}

// noteTagged makes a change to a tag that is there.
func (s *Store) noteTagged(name string, record func(string) []byte) error {
	return s.note(func(l *leases.Leases) ([]byte, error) {
		if !l.Tagged(name) {
			return nil, fmt.Errorf("%w: there is no tag %q; there are %q", ErrNotFound, name, l.Tags())
		}
		return record(name), nil
	})
}

// note makes the change that a record says, if there is one, and returns when it is acknowledged.
func (s *Store) note(change func(*leases.Leases) (record []byte, err error)) error {
	wait, err := s.write(change)
	if err == nil && wait != nil {
		err = wait()
	}
	return err
}

func (s *Store) write(change func(*leases.Leases) ([]byte, error)) (wait func() error, err error) {
	l := &s.lent
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.closed.Load():
		return nil, engine.ErrClosed
	case s.o.ReadOnly:
		return nil, fmt.Errorf("%w: no steps are given out", engine.ErrReadOnly)
	}
	record, err := change(&l.known)
	if err != nil || record == nil {
		return nil, err
	}
	return l.kept.Append(&l.known, record)
}

// syncLent returns when what was noted is on disk. Nobody has to wait for it who gives steps out meanwhile.
func (s *Store) syncLent() error {
	s.lent.mu.Lock()
	wait := s.lent.kept.Syncing()
	s.lent.mu.Unlock()
	return wait()
}

// recoverLent reads what was given out, and forgets batches of steps that a failure of the power took: others will have their
// offsets.
func (s *Store) recoverLent() error {
	l := &s.lent
	l.kept = journal.Kept{Most: leasesBytes, Options: wal.Options{
		Dir:          filepath.Join(s.dir, leasesDir),
		FS:           s.o.FS,
		SegmentBytes: leasesSegmentBytes,
		SyncInterval: s.o.SyncInterval,
		Logger:       s.o.Logger.With("component", "leases"),
	}}
	reading, err := journal.Read(l.kept.Options, &l.known)
	if err != nil || reading.Empty() {
		return err
	}
	if err := l.kept.Begin(reading); err != nil {
		return err
	}
	for _, number := range l.known.Beyond(s.index.rows) {
		s.o.Logger.Warn("a batch is given up, as its steps are lost", "batch", number)
		if err := s.note(func(*leases.Leases) ([]byte, error) { return leases.ForgetRecord(number), nil }); err != nil {
			return err
		}
	}
	return l.kept.Syncing()()
}
