package kv

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/statefile"
)

var (
	// ErrClosed is returned when the store was closed before or during the call.
	ErrClosed = errors.New("kv: store is closed")

	// ErrInvalid is returned for arguments that make no sense.
	ErrInvalid = errors.New("kv: invalid argument")

	// ErrPinned is returned when pinned blocks would take more than half of the capacity.
	ErrPinned = errors.New("kv: pinned blocks would take more than half of the capacity")

	// ErrCorrupt is returned by Open when a directory holds segments, but none says what store they belong to.
	ErrCorrupt = errors.New("kv: store is corrupt")
)

const stripes = 256

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
	ghosts  *ghosts
	sketch  *sketch
	stats   counters

	sequence, epoch atomic.Uint64
	pinned          atomic.Int64 // bytes that pinned blocks take
	sick            atomic.Int64 // Unix nanoseconds up to which no write is tried

	recycling     sync.Mutex // while segments are made, begun and emptied
	fullUntil     time.Time  // nothing is emptied before; guarded by recycling
	checkpointing sync.Mutex
	checkpointed  time.Time
	keys          [stripes]sync.Mutex // while an entry is changed in the journal and in the index
	identity      identity            // guarded by checkpointing

	orders [stripes]orders
	doubts doubts

	loads, stores *queue
	completions   completions
	working       sync.WaitGroup
	stop          chan struct{}
	walks         int64 // segments whose headers the opening has read
	closed        atomic.Bool
	alive         sync.RWMutex // held by calls that use files, so that Close waits for them
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

// identity is the content of the file "store".
type identity struct {
	Format       int               `json:"format"`
	ID           []byte            `json:"id"`
	Seed         uint64            `json:"seed"`
	SegmentBytes int64             `json:"segment_bytes"`
	Dropped      map[string]uint64 `json:"dropped,omitempty"` // namespaces, with the sequence up to which blocks are gone
}

const identityName = "store"

// Open opens the store of a directory, which is made if it is missing. It waits for the disk. It fails with an [OptionError], a
// [*engine.LockedError] or an error of the disk; damage costs misses, not the opening.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	s := &Store{o: o, dir: dir, policy: policy(o.Policy), opened: o.now(), stop: make(chan struct{})}
	if !o.unlocked {
		var err error
		if s.lock, err = statefile.Hold(dir); err != nil {
			return nil, fmt.Errorf("kv: open: %w", err)
		}
		if err := s.lock.Sign(); err != nil {
			return nil, errors.Join(fmt.Errorf("kv: open: %w", err), s.lock.Release())
		}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.start()
	return s, nil
}

func (s *Store) open() error {
	if err := s.identify(); err != nil {
		return err
	}
	s.index.perSegment = s.blobs.MaxBlocks()
	s.rings.limit = limit(s.o.CapacityBytes, s.blobs)
	if s.rings.limit < minSegments {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, want at least %d for segments of %d bytes",
			s.o.CapacityBytes, (minSegments+1)*s.blobs.SegmentBytes, s.blobs.SegmentBytes)}}
	}
	if uint64(s.rings.limit+1)*uint64(s.index.perSegment) >= uint64(noRef) {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, too much for segments of %d bytes", s.o.CapacityBytes, s.blobs.SegmentBytes)}}
	}
	s.ghosts, s.sketch = newGhosts(), newSketch()
	known, err := s.recover()
	if err != nil {
		return err
	}
	if err := s.shrink(); err != nil {
		return err
	}
	s.checkpointed = s.o.now()
	if known {
		_, err = s.catalog.rotate() // a checkpoint of many keys takes longer than the opening
	} else {
		err = s.checkpoint(false)
	}
	if err != nil {
		// A disk that is full: what is there can be read.
		s.o.Logger.Warn("nothing can be stored for now", "error", err)
	}
	return nil
}

// limit is the number of segments for a capacity, beside what checkpoint and journal may take.
func limit(capacity int64, b *blob.Store) int {
	return int(capacity / (b.SegmentBytes + 3*entryBytes*int64(b.MaxBlocks())))
}

// identify reads what store it is, or makes one.
func (s *Store) identify() error {
	path := filepath.Join(s.dir, identityName)
	content, err := statefile.Read(s.o.FS, path)
	if err == nil {
		err = json.Unmarshal(content, &s.identity)
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, statefile.ErrDamaged):
		if err := s.reidentify(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("kv: open: %w", err)
	}
	var id blob.Identity
	copy(id[:], s.identity.ID)
	s.blobs = blob.NewStore(s.o.FS, s.dir, id, s.identity.Seed, s.identity.SegmentBytes)
	s.owners.seed = s.identity.Seed
	s.catalog = catalog{fs: s.o.FS, dir: s.dir, salt: blob.Checksum([][]byte{id[:]})}
	return nil
}

// reidentify finds in a segment what store it is; without any segments a new one begins.
func (s *Store) reidentify() error {
	found, ok := blob.Identify(s.o.FS, s.dir)
	if ok {
		id := found.ID()
		s.identity = identity{Format: 1, ID: id[:], Seed: found.Seed, SegmentBytes: found.SegmentBytes}
		return s.saveIdentity()
	}
	if slots, err := blob.NewStore(s.o.FS, s.dir, blob.Identity{}, 0, 0).Slots(); err != nil || len(slots) > 0 {
		return fmt.Errorf("%w: %s has %d segments, but neither they nor the file %s say which store it is", errors.Join(ErrCorrupt, err), s.dir, len(slots), identityName)
	}
	var random [24]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("kv: make store: %w", err)
	}
	s.identity = identity{Format: 1, ID: random[:16], Seed: binary.LittleEndian.Uint64(random[16:]), SegmentBytes: s.o.SegmentBytes}
	return s.saveIdentity()
}

func (s *Store) saveIdentity() error {
	content, err := json.Marshal(s.identity)
	if err == nil {
		err = statefile.Write(s.o.FS, filepath.Join(s.dir, identityName), content)
	}
	if err != nil {
		return fmt.Errorf("kv: write identity: %w", err)
	}
	return nil
}

// shrink keeps a capacity that is lower than that of the opening before.
func (s *Store) shrink() error {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	s.rings.most = max(s.rings.limit, s.rings.count)
	defer func() { s.rings.most = s.rings.limit }()
	if s.rings.over() { // the notes of what is emptied
		if _, err := s.catalog.rotate(); err != nil {
			return err
		}
	}
	for s.rings.over() {
		s.collect()
		g := s.rings.pop(0)
		if g == nil {
			if err := s.recycle(); err != nil {
				return fmt.Errorf("kv: keep to the capacity of %d bytes: %w", s.o.CapacityBytes, err)
			}
			continue
		}
		if err := errors.Join(g.Close(), s.blobs.Remove(g.Slot)); err != nil {
			return fmt.Errorf("kv: keep to the capacity of %d bytes: %w", s.o.CapacityBytes, err)
		}
		s.setSegment(g.Slot, nil)
		s.rings.made(-1)
	}
	return nil
}

func (r *ringSet) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count > r.limit
}

// start begins the background work.
func (s *Store) start() {
	s.loads = newQueue(s.runLoad)
	s.stores = newQueue(s.runStore)
	for range s.o.Workers {
		s.working.Go(s.loads.work)
	}
	for range (s.o.Workers + 1) / 2 {
		s.working.Go(s.stores.work)
	}
	if !s.o.manual {
		s.working.Go(s.upkeep)
	}
}

// checkpointEvery is the longest time that what a journal has not is unsaved.
const checkpointEvery = 30 * time.Second

// upkeep does once a second what nobody waits for.
func (s *Store) upkeep() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.keepUp()
		}
	}
}

func (s *Store) keepUp() {
	if s.o.Sync == "interval" {
		if err := errors.Join(s.syncSegments(), s.catalog.sync()); err != nil {
			s.o.Logger.Warn("sync failed", "error", err)
		}
	}
	pending, broken := s.catalog.state()
	if broken || pending > s.journalLimit() || pending > 0 && s.o.now().Sub(s.lastCheckpoint()) > checkpointEvery {
		if err := s.checkpoint(false); err != nil {
			s.o.Logger.Warn("checkpoint failed", "error", err)
		}
	}
}

func (s *Store) lastCheckpoint() time.Time {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	return s.checkpointed
}

// journalLimit bounds what an opening has to replay: about as much as there is in the index.
func (s *Store) journalLimit() int64 {
	var keys int64
	for _, o := range s.owners.all() {
		keys += o.keys.Load()
	}
	return max(1<<20, keys*entryBytes/2)
}

// syncSegments brings to the disk what was written before the call.
func (s *Store) syncSegments() error {
	var err error
	for _, g := range s.allSegments() {
		err = errors.Join(err, g.Sync())
	}
	return err
}

// Flush brings all that was set to the disk.
func (s *Store) Flush() error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.exit()
	return errors.Join(s.syncSegments(), s.catalog.sync())
}

// Close ends the store: blocks that are read or written now end, submitted ones that have not begun fail. What was set is
// brought to the disk. Closing twice is an [ErrClosed].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	close(s.stop)
	s.loads.close()
	s.stores.close()
	s.working.Wait()
	s.alive.Lock()
	defer s.alive.Unlock()
	return errors.Join(s.checkpoint(true), s.release())
}

// release lets go of all files.
func (s *Store) release() error {
	err := s.catalog.close()
	for _, g := range s.allSegments() {
		err = errors.Join(err, g.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Release())
	}
	return err
}

// sickness is how long no write is tried after one has failed.
const sickness = time.Second

// sicken notes a failed write.
func (s *Store) sicken(what string, err error) {
	s.stats.writeErrors.Add(1)
	s.sick.Store(s.o.now().Add(sickness).UnixNano())
	s.o.Logger.Warn("could not "+what, "error", err)
}

// failed notes a failed write, and returns its error.
func (s *Store) failed(what string, err error) error {
	s.sicken(what, err)
	return fmt.Errorf("kv: %s: %w", what, err)
}

func (s *Store) isSick() bool { return s.o.now().UnixNano() < s.sick.Load() }

// seconds is the time of expiries, tick that of leases.
func (s *Store) seconds() uint32 { return uint32(s.o.now().Unix()) }

const tickLength = 100 * time.Millisecond

func (s *Store) tick() uint32 { return uint32(s.o.now().Sub(s.opened) / tickLength) }

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
	if !s.enter() {
		return ErrClosed
	}
	defer s.exit()
	s.owners.setQuota(salt, bytes)
	return s.catalog.append(frameQuota, quotaContent(salt, bytes))
}
