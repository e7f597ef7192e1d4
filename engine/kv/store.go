package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/metrics"
)

const (
	stripes = 256
	// ghostLimit is how many forgotten blocks are remembered, which take up to 8 MB. One that is set again had left too early,
	// and goes to the main ring at once; with second_hit it is stored, since it was wanted twice.
	ghostLimit = 1 << 18
	// passedLimit is how many blocks are remembered that were read past the page cache: blocks of 1 MiB, about as much as a large
	// machine has memory for.
	passedLimit = 1 << 16
)

// Store is an open store.
type Store struct {
	o      Options
	dir    string
	policy policy
	lock   *statefile.Lock
	blobs  *blob.Store
	opened time.Time

	index   index
	owners  owners
	catalog catalog
	rings   ringSet
	ghosts  *recent // blocks that were forgotten
	passed  *recent // blocks that were read past the page cache
	sketch  *sketch
	stats   counters
	metrics *metrics.Store

	sequence, epoch atomic.Uint64
	pinned          atomic.Int64 // bytes that pinned blocks take
	sick            atomic.Int64 // Unix nanoseconds up to which no write is tried

	recycling     sync.Mutex // while segments are made, begun and emptied
	fullUntil     time.Time  // nothing is emptied before; guarded by recycling
	allowance     int64      // bytes that may be moved for being worth it; guarded by recycling
	checkpointing sync.Mutex
	checkpointed  time.Time
	keys          [stripes]sync.Mutex // while an entry is changed in the journal and in the index
	identity      identity            // guarded by checkpointing

	orders [stripes]orders
	doubts doubts

	mover      transfer.Mover
	loading    atomic.Int32 // loads that run now
	processors int          // that loads of long blocks are divided among when there are few
	stop       chan struct{}
	walks      int64  // segments whose headers the opening has read
	inUseBy    string // who had it open when it was opened read-only
	closed     atomic.Bool
	alive      sync.RWMutex // held by calls that use files, so that Close waits for them
}

// enter begins a call that uses files; false once the store is closed. The caller ends it with exit.
func (s *Store) enter() bool {
	s.alive.RLock()
	if s.closed.Load() {
		s.alive.RUnlock()
		return false
	}
	return true
}

func (s *Store) exit() { s.alive.RUnlock() }

// enterChange is enter for calls that change what is stored.
func (s *Store) enterChange() error {
	if s.o.ReadOnly {
		return ErrReadOnly
	}
	if !s.enter() {
		return ErrClosed
	}
	return nil
}

// identity is the content of the file "store".
type identity struct {
	Format       int               `json:"format"`
	ID           []byte            `json:"id"`
	Seed         uint64            `json:"seed"`
	SegmentBytes int64             `json:"segment_bytes"`
	Capacity     int64             `json:"capacity,omitempty"` // of the last opening
	Dropped      map[string]uint64 `json:"dropped,omitempty"`  // namespaces, with the sequence up to which blocks are gone
}

const identityName = "store"

// absolute is the name that metrics show.
func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

func newStore(dir string, o Options) *Store {
	return &Store{
		o: o, dir: dir, policy: policy(o.Policy), opened: o.Now(), stop: make(chan struct{}),
		ghosts: newRecent(ghostLimit), passed: newRecent(passedLimit), sketch: newSketch(),
		processors: runtime.GOMAXPROCS(0),
	}
}

// Options are those that the store was opened with, with the defaults filled in.
func (s *Store) Options() Options { return s.o }

// ID is the identity of the store, with which the checksums of its headers begin.
func (s *Store) ID() blob.Identity { return s.blobs.ID() }

// MaxLength is the length of the longest block there can be.
func (s *Store) MaxLength() int64 { return s.blobs.MaxLength() }

// PinnedBytes is what blocks take that are pinned.
func (s *Store) PinnedBytes() int64 { return s.pinned.Load() }

// syncSegments brings to the disk what was written before the call.
func (s *Store) syncSegments() error {
	var err error
	for _, g := range s.allSegments() {
		err = errors.Join(err, g.Sync())
	}
	return err
}

// sickness is how long no write is tried after one has failed.
const sickness = time.Second

// sicken notes a failed write.
func (s *Store) sicken(what string, err error) {
	s.stats.writeErrors.Add(1)
	s.sick.Store(s.o.Now().Add(sickness).UnixNano())
	s.o.Logger.Warn("could not "+what, "error", err)
}

// failed notes a failed write, and returns its error.
func (s *Store) failed(what string, err error) error {
	s.sicken(what, err)
	return fmt.Errorf("kv: %s: %w", what, err)
}

func (s *Store) isSick() bool { return s.o.Now().UnixNano() < s.sick.Load() }

// seconds is the time of expiries, tick that of leases.
func (s *Store) seconds() uint32 { return uint32(s.o.Now().Unix()) }

const tickLength = 100 * time.Millisecond

func (s *Store) tick() uint32 { return uint32(s.o.Now().Sub(s.opened) / tickLength) }

// Space returns the number of a namespace with a salt, for the calls that take one. Keys of different namespaces are different;
// the salt is whose account a block goes on and makes no difference to keys.
func (s *Store) Space(namespace, salt string) (uint32, error) {
	if n := len(namespace) + len(salt); n > blob.MaxNamesBytes/2 {
		return 0, fmt.Errorf("%w: namespace and salt have %d bytes, want at most %d", ErrInvalid, n, blob.MaxNamesBytes/2)
	}
	o, err := s.owners.intern(namespace, salt)
	if err != nil {
		return 0, err
	}
	return o.number, nil
}

// space returns what a number stands for.
func (s *Store) space(number uint32) (*owner, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	o := s.owners.get(number)
	if o == nil {
		return nil, fmt.Errorf("%w: there is no space %d", ErrInvalid, number)
	}
	return o, nil
}

// SetQuota bounds what the blocks of a salt may take: while they take more, they are the first that go. 0 is without bound.
func (s *Store) SetQuota(salt string, bytes int64) error {
	if bytes < 0 {
		return fmt.Errorf("%w: quota is %d, want at least 0 bytes", ErrInvalid, bytes)
	}
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	s.owners.setQuota(salt, bytes)
	return s.catalog.append(frameQuota, quotaContent(salt, bytes))
}

// setSegment changes which segment a slot has.
func (s *Store) setSegment(slot uint32, g *segment) {
	s.rings.mu.Lock()
	defer s.rings.mu.Unlock()
	s.index.segments[slot] = g
}

// allSegments are those that have a slot.
func (s *Store) allSegments() []*segment {
	s.rings.mu.Lock()
	defer s.rings.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.index.segments), func(g *segment) bool { return g == nil })
}

// nextEpoch grows; its low bits tell it from one that a crash has taken back.
func (s *Store) nextEpoch() uint64 {
	return s.epoch.Add(1)<<24 | rand.Uint64N(1<<24)
}

func (s *Store) segmentOf(ref uint32) *segment { return s.index.segments[ref/s.index.perSegment] }

func (s *Store) ordersOf(hash uint64) *orders { return &s.orders[hash%stripes] }
