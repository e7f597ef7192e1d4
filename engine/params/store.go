package params

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

const (
	storeName  = "parameters"
	catalogDir = "catalog"
	manifests  = "manifests"
	packs      = "packs"

	packEnd     = ".pk"
	manifestEnd = ".pm"
	stagedEnd   = ".tmp" // of a save that is not published
)

// Options are what a store is opened with.
type Options struct {
	// FS is where it is. The default is the operating system's.
	FS vfs.FS
	// Readers is how many reads a load has under way. The default is 4 for each core, at most 16.
	Readers int
	// ReadOnly fails where there is no store, and makes nothing.
	ReadOnly bool
	// Keep has the store keep a copy in memory of what it saved last of each name, which the next save is told from; without it
	// that is read from the disk.
	Keep bool
	// Metrics is the set that the metrics of the store become part of. The default is none.
	Metrics *metrics.Set

	locks locker // nil is the kernel's
	now   func() time.Time
}

// Store is an open store. It keeps no file open.
type Store struct {
	o      Options
	dir    string
	locks  locker
	closed atomic.Bool
	ended  chan struct{} // closed then

	mu      sync.Mutex
	objects objectIndex            // what packs hold, as far as it was read
	begun   map[ident]func() error // transactions, and what ends their leases
	watcher *vfs.Watcher           // of the catalog, nil until somebody waits
	looked  map[string]looked      // names that somebody has waited for

	kept snapshots

	metrics *metrics.Parameters // nil where they are off
	opened  atomic.Int64        // versions that are open
}

// looked is what the catalog had of a name when it was looked at.
type looked struct {
	changed <-chan struct{} // was closed when it has changed since
	at      time.Time
	latest  uint64
}

// Close ends the use of the store, and the transactions that it has begun. Versions that are open stay so.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	close(s.ended)
	s.metrics.Close()
	s.kept.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	if s.watcher != nil {
		failed = s.watcher.Close()
	}
	for _, end := range s.begun {
		failed = errors.Join(failed, end())
	}
	clear(s.begun)
	return failed
}

func (s *Store) open() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return nil
}

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

func (s *Store) packPath(id ident) string { return s.path(packs, id.String()+packEnd) }

func (s *Store) manifestPath(id ident) string { return s.path(manifests, id.String()+manifestEnd) }

// alone does something behind the gate.
func (s *Store) alone(do func() error) error { return s.pass(true, do) }

// together does something behind the gate beside others, while nobody is there alone.
func (s *Store) together(do func() error) error { return s.pass(false, do) }

func (s *Store) pass(alone bool, do func() error) (err error) {
	leave, err := s.locks.pass(alone)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	return do()
}
