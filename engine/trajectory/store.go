package trajectory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory/mirror"
	"github.com/persisting/persisting/metrics"
)

// Store is an open store.
type Store struct {
	o        Options
	dir      string
	steps    *bucket.Bucket
	episodes *bucket.Bucket
	closed   atomic.Bool
	now      func() time.Time
	sheets   sheets
	lent     lent
	changes  bell // of what limits of samplers ask for
	content  *content.Values
	sweeping sync.WaitGroup // removes values that no step names

	mirroring sync.Mutex                    // of who makes the mirror; taken before writing
	mirror    atomic.Pointer[mirror.Mirror] // nil until there is a sampler

	ranks ranks

	metrics *metrics.Trajectories // nil where they are off
	behind  atomic.Int64          // steps before the sampler with an order that drew last

	writing sync.Mutex // the order of appends; guards what follows
	frame   *frame     // nil until there is a step

	mu    sync.RWMutex // guards what follows; taken after writing, never before
	index *index
}

// Close closes the store. It is closed whatever is returned.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return engine.ErrClosed
	}
	s.changes.close()
	s.metrics.Close()
	s.sweeping.Wait()
	err := errors.Join(s.sheets.close(), s.lent.close(), s.steps.Close(), s.episodes.Close(), s.ranks.close(), s.content.Close())
	s.mirroring.Lock()
	defer s.mirroring.Unlock()
	if m := s.mirror.Swap(nil); m != nil {
		err = errors.Join(err, m.Close())
	}
	return err
}

// Schema returns the columns of steps, nil where there are none yet.
func (s *Store) Schema() *arrow.Schema {
	schema, _ := s.steps.Schema()
	return schema
}

// Flush brings all that is acknowledged into the tables.
func (s *Store) Flush() error {
	return errors.Join(s.content.Flush(), s.steps.Flush(), s.episodes.Flush())
}

// Stats is how much is in a store.
type Stats struct {
	Path              string       `json:"path"`
	Steps             int64        `json:"steps"` // of open and ended episodes
	FinalObservations int64        `json:"final_observations"`
	Rows              int64        `json:"rows"` // in the bucket of steps
	Open              int64        `json:"open"`
	Ended             int64        `json:"ended"`
	Lost              int64        `json:"lost"`
	Superseded        int64        `json:"superseded"`
	Removed           int64        `json:"removed"`
	Values            int64        `json:"values"`    // that are stored by what they are
	HotRows           int64        `json:"hot_rows"`  // in the mirror
	HotBytes          int64        `json:"hot_bytes"` // of its files
	StepsBucket       bucket.Stats `json:"steps_bucket"`
	EpisodesBucket    bucket.Stats `json:"episodes_bucket"`
}

// Stats returns how much is in the store.
func (s *Store) Stats() Stats {
	stats := Stats{Path: s.dir, Values: s.content.Count(), StepsBucket: s.steps.Stats(), EpisodesBucket: s.episodes.Stats()}
	if m := s.mirror.Load(); m != nil {
		stats.HotRows, stats.HotBytes = m.Rows()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats.Rows = s.index.visible
	counts := [...]*int64{open: &stats.Open, ended: &stats.Ended, lost: &stats.Lost, superseded: &stats.Superseded, removed: &stats.Removed}
	for _, e := range s.index.episodes {
		if e.state == unknown {
			continue
		}
		*counts[e.state]++
		if e.hidden() {
			continue
		}
		stats.Steps += e.Steps
		if e.last {
			stats.FinalObservations++
		}
	}
	return stats
}

// show makes rows visible up to an end, which is acknowledged.
func (s *Store) show(end int64) {
	s.mu.Lock()
	s.index.visible = max(s.index.visible, end)
	s.mu.Unlock()
	s.changes.ring()
}

// acknowledged waits until the rows of a bucket below an end are.
func acknowledged(b *bucket.Bucket, end int64) error { return b.Wait(context.Background(), end) }

// each calls a function with all batches of a cursor, which it closes.
var each = (*table.Cursor).Each
