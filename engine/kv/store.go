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
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

var (
	// ErrClosed is returned when the store was closed before or during the call.
	ErrClosed = errors.New("kv: store is closed")

	// ErrInvalid is returned for arguments that make no sense.
	ErrInvalid = errors.New("kv: invalid argument")

	// ErrPinned is returned when pinned blocks would take more than half of the capacity.
	ErrPinned = errors.New("kv: pinned blocks would take more than half of the capacity")

	// ErrReadOnly is returned by what would change a store that was opened to be looked at.
	ErrReadOnly = errors.New("kv: store was opened read-only")

	// ErrNoStore is returned by Open, where it is to change nothing, for a directory without a store.
	ErrNoStore = errors.New("kv: there is no store")

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
	metrics *metrics.Store

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

	mover
	stop    chan struct{}
	walks   int64  // segments whose headers the opening has read
	inUseBy string // who had it open when it was opened read-only
	closed  atomic.Bool
	alive   sync.RWMutex // held by calls that use files, so that Close waits for them
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

// Open opens the store of a directory, which is made if it is missing. It waits for the disk. It fails with an [OptionError], a
// [*engine.LockedError] or an error of the disk; damage costs misses, not the opening.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.CapacityBytes == 0 {
		o.CapacityBytes = lastCapacity(o.FS, dir)
	}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return look(dir, o)
	}
	if err := o.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	s := newStore(dir, o)
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
	if o.Metrics != nil {
		s.metrics = o.Metrics.Store(absolute(dir), s.metricsState)
	}
	return s, nil
}

// absolute is the name that metrics show.
func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

func newStore(dir string, o Options) *Store {
	return &Store{
		o: o, dir: dir, policy: policy(o.Policy), opened: o.now(), stop: make(chan struct{}), ghosts: newGhosts(), sketch: newSketch(),
	}
}

func (s *Store) open() error {
	if err := s.identify(); err != nil {
		return err
	}
	s.rings.limit = limit(s.o.CapacityBytes, s.blobs)
	if s.rings.limit < minSegments {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, want at least %d for segments of %d bytes",
			s.o.CapacityBytes, leastBytes(s.blobs), s.blobs.SegmentBytes)}}
	}
	if uint64(s.rings.limit+1)*uint64(s.index.perSegment) >= uint64(noRef) {
		return &OptionError{Faults: []string{fmt.Sprintf("capacity is %d, too much for segments of %d bytes", s.o.CapacityBytes, s.blobs.SegmentBytes)}}
	}
	known, err := s.recover()
	if err != nil {
		return err
	}
	if s.rings.over(s.rings.limit) { // there is a journal for the notes of what is emptied
		if _, err := s.catalog.rotate(); err != nil {
			return err
		}
	}
	if err := s.shrink(s.rings.limit); err != nil {
		return fmt.Errorf("kv: keep to the capacity of %d bytes: %w", s.o.CapacityBytes, err)
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
	s.noteCapacity()
	var id blob.Identity
	copy(id[:], s.identity.ID)
	s.blobs = blob.NewStore(s.o.FS, s.dir, id, s.identity.Seed, s.identity.SegmentBytes)
	s.blobs.ReadOnly = s.o.ReadOnly
	s.index.perSegment = s.blobs.MaxBlocks()
	s.owners.seed = s.identity.Seed
	s.catalog = catalog{fs: s.o.FS, dir: s.dir, salt: blob.Checksum([][]byte{id[:]})}
	return nil
}

// reidentify finds in a segment what store it is; without any segments a new one begins.
func (s *Store) reidentify() error {
	found, ok := blob.Identify(s.o.FS, s.dir)
	if ok {
		id := found.ID()
		s.identity = identity{Format: 1, ID: id[:], Seed: found.Seed, SegmentBytes: found.SegmentBytes, Capacity: s.o.CapacityBytes}
		return s.saveIdentity()
	}
	slots, err := blob.NewStore(s.o.FS, s.dir, blob.Identity{}, 0, 0).Slots()
	if s.o.ReadOnly && len(slots) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%w in %s", ErrNoStore, s.dir)
	}
	if err != nil || len(slots) > 0 {
		return fmt.Errorf("%w: %s has %d segments, but neither they nor the file %s say which store it is", errors.Join(ErrCorrupt, err), s.dir, len(slots), identityName)
	}
	var random [24]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("kv: make store: %w", err)
	}
	s.identity = identity{
		Format: 1, ID: random[:16], Seed: binary.LittleEndian.Uint64(random[16:]),
		SegmentBytes: s.o.SegmentBytes, Capacity: s.o.CapacityBytes,
	}
	return s.saveIdentity()
}

// noteCapacity has the next opening know the capacity of this one, which is a convenience: on a full disk it is not written.
func (s *Store) noteCapacity() {
	if s.identity.Capacity == s.o.CapacityBytes {
		return
	}
	s.identity.Capacity = s.o.CapacityBytes
	if err := s.saveIdentity(); err != nil {
		s.o.Logger.Warn("the capacity is not noted", "error", err)
	}
}

// lastCapacity is that of the last opening of a directory; 0 where nothing says it.
func lastCapacity(fsys vfs.FS, dir string) int64 {
	var last identity
	content, err := statefile.Read(fsys, filepath.Join(dir, identityName))
	if err != nil || json.Unmarshal(content, &last) != nil {
		return 0 // the opening finds out what is wrong
	}
	return last.Capacity
}

// saveIdentity writes the file "store"; who only looks keeps it in memory.
func (s *Store) saveIdentity() error {
	if s.o.ReadOnly {
		return nil
	}
	content, err := json.Marshal(s.identity)
	if err == nil {
		err = statefile.Write(s.o.FS, filepath.Join(s.dir, identityName), content)
	}
	if err != nil {
		return fmt.Errorf("kv: write identity: %w", err)
	}
	return nil
}

// shrink empties and removes segments until there are no more than limit.
func (s *Store) shrink(limit int) error {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	s.rings.most = max(s.rings.limit, s.rings.total())
	defer func() { s.rings.most = s.rings.limit }()
	for s.rings.over(limit) {
		s.collect()
		g := s.rings.pop(0)
		if g == nil {
			if s.rings.leavingCount() > 0 {
				return fmt.Errorf("%w: some are read at this moment", errFull)
			}
			if err := s.recycle(); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(g.Close(), s.blobs.Remove(g.Slot)); err != nil {
			return err
		}
		s.setSegment(g.Slot, nil)
		s.rings.made(-1)
	}
	return nil
}

func (r *ringSet) over(limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count > limit
}

// Evict forgets what is worth least until the directory takes no more than that many bytes. Sets that follow fill it again.
func (s *Store) Evict(bytes int64) error {
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	n := limit(bytes, s.blobs)
	if n < minSegments {
		return fmt.Errorf("%w: %d bytes are to be left, want at least %d for segments of %d bytes",
			ErrInvalid, bytes, leastBytes(s.blobs), s.blobs.SegmentBytes)
	}
	if err := s.shrink(n); err != nil {
		return fmt.Errorf("kv: evict down to %d bytes: %w", bytes, err)
	}
	return nil
}

// leastBytes is the least capacity there can be.
func leastBytes(b *blob.Store) int64 { return (minSegments + 1) * b.SegmentBytes }

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
	if !s.o.manual && !s.o.ReadOnly {
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
	if err := s.enterChange(); err != nil {
		return err
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
	s.metrics.Close()
	close(s.stop)
	s.loads.close()
	s.stores.close()
	s.working.Wait()
	s.alive.Lock()
	defer s.alive.Unlock()
	if s.o.ReadOnly {
		return s.release()
	}
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
	if err := s.enterChange(); err != nil {
		return err
	}
	defer s.exit()
	s.owners.setQuota(salt, bytes)
	return s.catalog.append(frameQuota, quotaContent(salt, bytes))
}
