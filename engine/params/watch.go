package params

import (
	"fmt"
	"time"

	"github.com/persisting/persisting/vfs"
)

// The catalog is looked at so often besides: another machine changes it without a word to this one. Where the system tells of no
// change at all, that is how it is found.
const (
	lookEvery  = 5 * time.Second
	lookUntold = 500 * time.Millisecond
)

// Wait returns the newest version of a name as soon as its number is above one, 0 for any; and 0 when the time is over. It is told by
// the system when the catalog changes, and reads it only then.
func (s *Store) Wait(name string, above uint64, limit time.Duration) (uint64, error) {
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		if err := s.open(); err != nil {
			return 0, err
		}
		changed, every := s.changes() // before the look, so that no change is missed
		latest, err := s.latest(name, changed, every)
		if err != nil {
			return 0, fmt.Errorf("params: wait: %w", err)
		}
		if latest > above {
			return latest, nil
		}
		look := time.NewTimer(every)
		select {
		case <-changed:
		case <-look.C:
		case <-s.ended:
		case <-over.C:
			return 0, nil
		}
		look.Stop()
	}
}

// changes is closed when the catalog changes, if that is told, and how often it is looked at.
func (s *Store) changes() (<-chan struct{}, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watcher == nil && !s.closed.Load() {
		w, err := vfs.Watch(s.o.FS, s.path(catalogDir))
		if err != nil { // the system watches as many directories as it wants to, or none
			return nil, lookUntold
		}
		s.watcher = w
	}
	if s.watcher == nil {
		return s.ended, lookEvery
	}
	return s.watcher.Changed(), lookEvery
}

// latest is the newest version of a name. Whoever waits in short turns does not read the catalog in each.
func (s *Store) latest(name string, changed <-chan struct{}, every time.Duration) (uint64, error) {
	s.mu.Lock()
	last, known := s.looked[name]
	s.mu.Unlock()
	now := time.Now()
	if known && last.changed == changed && now.Sub(last.at) < every {
		return last.latest, nil
	}
	n, err := s.read(name)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked[name] = looked{changed, now, n.Latest}
	return n.Latest, nil
}
