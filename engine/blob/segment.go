package blob

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/vfs"
)

const suffix = ".seg"

// MinSegmentBytes is the smallest size of a segment.
const MinSegmentBytes = 16 * PageBytes

// Store is where the segments of a store are.
type Store struct {
	FS           vfs.FS
	Dir          string
	SegmentBytes int64
	Seed         uint64
	ReadOnly     bool // segments are opened to be read, and left as they are
	id           Identity
}

// NewStore describes a store. Nothing is read or written.
func NewStore(fsys vfs.FS, dir string, id Identity, seed uint64, segmentBytes int64) *Store {
	return &Store{FS: fsys, Dir: dir, SegmentBytes: segmentBytes, Seed: seed, id: id}
}

// Segment is an open segment file.
type Segment struct {
	Slot  uint32
	store *Store
	file  vfs.File
	past  past

	epoch atomic.Uint64
	ring  atomic.Uint32
	dirty atomic.Bool // written to since the last Sync
	sync  sync.Mutex  // of those that bring it to the disk
	named bool        // the directory is known to have it on the disk; guarded by sync

	writing sync.Mutex // of those that write to the file

	mu   sync.Mutex
	used uint32 // pages taken from the front
}

// pages is the number of pages in a segment, and lastPage the one that repeats page 0.
func (s *Store) pages() uint32    { return uint32(s.SegmentBytes / PageBytes) }
func (s *Store) lastPage() uint32 { return s.pages() - 1 }

// MaxLength is the longest payload that a segment takes.
func (s *Store) MaxLength() int64 {
	return min(s.SegmentBytes-3*PageBytes, 1<<32-PageBytes)
}

// MaxBlocks is the number of blocks that fit into a segment at most.
func (s *Store) MaxBlocks() uint32 { return (s.pages() - 2) / 2 }

// Path is where the file of a slot is.
func (s *Store) Path(slot uint32) string {
	return filepath.Join(s.Dir, fmt.Sprintf("%08d%s", slot, suffix))
}

// pagesOf is what a block of that length takes, header included. An empty payload takes a page as well.
func pagesOf(length uint32) uint32 {
	return 1 + uint32((max(uint64(length), 1)+PageBytes-1)/PageBytes)
}

// TakenBytes is what a block of that length takes of its segment.
func TakenBytes(length uint32) int64 { return int64(pagesOf(length)) * PageBytes }

// Slots returns the slots that have a file.
func (s *Store) Slots() ([]uint32, error) {
	names, err := s.FS.ReadDir(s.Dir)
	if err != nil {
		return nil, err
	}
	var slots []uint32
	for _, name := range names {
		stem, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		// Only a name that this store would give: "17.seg" beside "00000017.seg" would be a slot
		// with two files.
		if n, err := strconv.ParseUint(stem, 10, 32); err == nil && s.Path(uint32(n)) == filepath.Join(s.Dir, name) {
			slots = append(slots, uint32(n))
		}
	}
	slices.Sort(slots)
	return slots, nil
}

// Create makes the file of a slot, of the full size and empty. What it could not finish it removes. It does not wait for the disk:
// the first Sync brings file and name there, with what was written meanwhile.
func (s *Store) Create(slot uint32) (*Segment, error) {
	path := s.Path(slot)
	f, err := s.FS.Create(path)
	if err != nil {
		return nil, fmt.Errorf("blob: make segment: %w", err)
	}
	// All of the space now, so that a full disk is told of here, where a store can do without one
	// segment, and not by a write of a block.
	if err := f.Preallocate(s.SegmentBytes); err != nil {
		err = errors.Join(err, f.Close(), s.FS.Remove(path))
		return nil, fmt.Errorf("blob: make segment %s: %w", path, err)
	}
	return &Segment{Slot: slot, store: s, file: f, used: s.pages()}, nil
}

// Open opens the file of a slot. Its epoch is 0 where neither copy of its header is sound or the file has another size, which
// it is given then.
func (s *Store) Open(slot uint32) (*Segment, error) {
	open := s.FS.OpenWrite
	if s.ReadOnly {
		open = s.FS.Open
	}
	f, err := open(s.Path(slot))
	if err != nil {
		return nil, fmt.Errorf("blob: open segment: %w", err)
	}
	g := &Segment{Slot: slot, store: s, file: f, used: s.pages()}
	size, err := f.Size()
	if err == nil && size != s.SegmentBytes && !s.ReadOnly {
		// What was cut off is gone; what is left is found by its headers.
		err = f.Truncate(s.SegmentBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open segment %s: %w", s.Path(slot), errors.Join(err, f.Close()))
	}
	epoch, ring := g.stored()
	g.epoch.Store(epoch)
	g.ring.Store(ring)
	return g, nil
}

// stored is what the headers of a segment say now; 0 where neither copy is sound.
func (g *Segment) stored() (epoch uint64, ring uint32) {
	s := g.store
	for _, at := range []uint32{0, s.lastPage()} {
		page := make([]byte, PageBytes)
		if err := vfs.ReadPieces(g.file, [][]byte{page}, int64(at)*PageBytes); err != nil {
			continue // the other copy, or the blocks, say what it is
		}
		// The greater of the two: a crash in Begin may leave one of each.
		if e, r, ok := s.decode(page, g.Slot); ok && e > epoch {
			epoch, ring = e, r
		}
	}
	return epoch, ring
}

// Refilled says whether another process, whose store this is, has begun to fill the segment anew since it was opened.
func (g *Segment) Refilled() bool {
	epoch, _ := g.stored()
	return epoch > g.Epoch()
}

// Remove deletes the file of a closed segment.
func (s *Store) Remove(slot uint32) error {
	if err := s.FS.Remove(s.Path(slot)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: remove segment: %w", err)
	}
	return nil
}

func (s *Store) encode(slot uint32, epoch uint64, ring uint32) []byte {
	page := make([]byte, PageBytes)
	copy(page, segmentMagic)
	le.PutUint32(page[8:], version)
	copy(page[16:], s.id[:])
	le.PutUint64(page[32:], epoch)
	le.PutUint64(page[40:], uint64(s.SegmentBytes))
	le.PutUint64(page[48:], s.Seed)
	le.PutUint32(page[56:], slot)
	le.PutUint32(page[60:], ring)
	le.PutUint32(page[12:], crc32.Checksum(page[16:headerBytes], castagnoli))
	return page
}

func (s *Store) decode(page []byte, slot uint32) (epoch uint64, ring uint32, ok bool) {
	id, seed, size, ok := identify(page)
	if !ok || id != s.id || seed != s.Seed || size != s.SegmentBytes || le.Uint32(page[56:]) != slot {
		return 0, 0, false
	}
	return le.Uint64(page[32:]), le.Uint32(page[60:]), true
}

// identify reads which store a segment belongs to.
func identify(page []byte) (id Identity, seed uint64, size int64, ok bool) {
	if string(page[:8]) != segmentMagic || le.Uint32(page[8:]) != version ||
		crc32.Checksum(page[16:headerBytes], castagnoli) != le.Uint32(page[12:]) {
		return id, 0, 0, false
	}
	copy(id[:], page[16:])
	return id, le.Uint64(page[48:]), int64(le.Uint64(page[40:])), true
}

// Identify finds the identity of a store in any of its segments, for the case that the file that says it is lost.
func Identify(fsys vfs.FS, dir string) (*Store, bool) {
	slots, err := (&Store{FS: fsys, Dir: dir}).Slots()
	if err != nil {
		return nil, false
	}
	for _, slot := range slots {
		path := (&Store{Dir: dir}).Path(slot)
		if s, ok := identifyFile(fsys, path); ok {
			s.Dir = dir
			return s, true
		}
	}
	return nil, false
}

func identifyFile(fsys vfs.FS, path string) (*Store, bool) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	page := make([]byte, PageBytes)
	if err := vfs.ReadPieces(f, [][]byte{page}, 0); err != nil {
		return nil, false
	}
	id, seed, size, ok := identify(page)
	if !ok || size < MinSegmentBytes || size%PageBytes != 0 {
		return nil, false
	}
	return &Store{FS: fsys, SegmentBytes: size, Seed: seed, id: id}, true
}

// ID is the identity of the store.
func (s *Store) ID() Identity { return s.id }

// Epoch tells the fillings of a segment apart; 0 is of one that nothing is known of.
func (g *Segment) Epoch() uint64 { return g.epoch.Load() }

// Ring is what Begin was given.
func (g *Segment) Ring() uint32 { return g.ring.Load() }

// Assume gives a segment whose headers are damaged the epoch and ring that are known from elsewhere.
func (g *Segment) Assume(epoch uint64, ring uint32) {
	g.epoch.Store(epoch)
	g.ring.Store(ring)
}

// Begin makes a segment empty, under a new epoch. Where it fails, the segment holds what it held.
func (g *Segment) Begin(epoch uint64, ring uint32) error {
	page := g.store.encode(g.Slot, epoch, ring)
	for _, at := range []uint32{0, g.store.lastPage()} {
		if err := g.file.WriteAt([][]byte{page}, int64(at)*PageBytes); err != nil {
			return fmt.Errorf("blob: begin segment: %w", err)
		}
	}
	g.dirty.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch.Store(epoch)
	g.ring.Store(ring)
	// The page of the header. What stands behind it has another epoch, and is no block any more.
	g.used = 1
	return nil
}

// Reserve takes the pages of a block of that length; false where the rest of the segment is too small.
func (g *Segment) Reserve(length uint32) (page uint32, ok bool) {
	n := pagesOf(length)
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > g.store.lastPage() || g.used > g.store.lastPage()-n {
		return 0, false
	}
	page = g.used
	g.used += n
	return page, true
}

// Return gives reserved pages back, where they are the last that were taken.
func (g *Segment) Return(page, length uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Else it is a gap, which Walk goes over by the page until the segment is filled anew.
	if page+pagesOf(length) == g.used {
		g.used = page
	}
}

// Used is the number of pages that are taken from the front.
func (g *Segment) Used() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}

// SetUsed says up to where a segment that was opened is filled.
func (g *Segment) SetUsed(pages uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = min(max(pages, 1), g.store.pages())
}

// End is the page behind a block.
func End(page, length uint32) uint32 { return page + pagesOf(length) }

// pagePool has the pages that headers are read into and written from.
var pagePool = sync.Pool{New: func() any { return new([PageBytes]byte) }}

// Header reads the header at a page; ErrBlock where there is none of this epoch.
func (g *Segment) Header(page uint32) (Header, error) {
	head := pagePool.Get().(*[PageBytes]byte)
	defer pagePool.Put(head)
	err := vfs.ReadPieces(g.file, [][]byte{head[:]}, int64(page)*PageBytes)
	if errors.Is(err, io.ErrUnexpectedEOF) { // of a file that was cut short, and is only looked at
		err = fmt.Errorf("%w: slot %d ends before page %d", ErrBlock, g.Slot, page)
	}
	if err != nil {
		return Header{}, fmt.Errorf("blob: read header: %w", err)
	}
	h, ok := decode(head[:], g.store.id)
	if !ok || h.Slot != g.Slot || h.Page != page || g.Epoch() != 0 && h.Epoch != g.Epoch() ||
		uint64(page)+uint64(pagesOf(h.Length)) > uint64(g.store.lastPage()) {
		return Header{}, fmt.Errorf("%w: no header of this epoch at page %d of slot %d", ErrBlock, page, g.Slot)
	}
	return h, nil
}

// Payload reads the payload behind a header into memory of its length, and compares the checksum.
func (g *Segment) Payload(h *Header, into []byte) error {
	if err := vfs.ReadPieces(g.file, [][]byte{into}, int64(h.Page+1)*PageBytes); err != nil {
		return fmt.Errorf("blob: read payload: %w", err)
	}
	if Checksum([][]byte{into}) != h.Sum {
		return fmt.Errorf("%w: payload at page %d of slot %d does not have its checksum", ErrBlock, h.Page, g.Slot)
	}
	return nil
}

// Walk calls f for the header of each block from a page on. Where there is none, it goes on by the page, so that what damage
// has hidden costs no more than itself. It returns the page behind the last block.
func (g *Segment) Walk(from uint32, f func(Header)) (end uint32, err error) {
	end = from
	for page := from; page < g.store.lastPage(); {
		h, err := g.Header(page)
		switch {
		case errors.Is(err, ErrBlock):
			// By the page and not by a length that is not known.
			page++
			continue
		case err != nil:
			return end, err
		}
		f(h)
		page = End(page, h.Length)
		end = page
	}
	return end, nil
}

// MarkDead notes on the disk that a block was replaced or deleted, for the case that the store's own notes are lost.
func (g *Segment) MarkDead(page uint32) error {
	g.dirty.Store(true)
	if err := g.file.WriteAt([][]byte{[]byte(deadMark)}, int64(page)*PageBytes+int64(deadAt)); err != nil {
		return fmt.Errorf("blob: mark block: %w", err)
	}
	return nil
}

// Sync brings to the disk what was written.
func (g *Segment) Sync() error {
	g.sync.Lock() // who comes second returns after the first has ended
	defer g.sync.Unlock()
	// Before the sync and not after: what is written beside it sets the flag again.
	if !g.dirty.Swap(false) {
		return nil
	}
	err := g.file.Datasync()
	if err == nil && !g.named {
		err = g.store.FS.SyncDir(g.store.Dir)
		g.named = err == nil
	}
	if err != nil {
		g.dirty.Store(true)
		return fmt.Errorf("blob: sync segment: %w", err)
	}
	return nil
}

// Close closes the file; what was not synced is left to the system.
func (g *Segment) Close() error { return errors.Join(g.file.Close(), g.past.close()) }

// Probe writes what page 0 holds once more, to find out whether the disk takes writes.
func (g *Segment) Probe() error {
	page := g.store.encode(g.Slot, g.Epoch(), g.Ring())
	if err := g.file.WriteAt([][]byte{page}, 0); err != nil {
		return fmt.Errorf("blob: write to segment: %w", err)
	}
	return nil
}

// fits compares a header, as it was read, with what is wanted of it and with where it was read. It returns the checksum that the
// payload must have.
func (s *Segment) fits(page []byte, w Want) (uint32, error) {
	sum, err := whole(page, s.store.id, w)
	if err == nil && (le.Uint64(page[16:]) != s.Epoch() || le.Uint32(page[40:]) != s.Slot || le.Uint32(page[44:]) != w.Page) {
		err = fmt.Errorf("%w: the header belongs elsewhere", ErrBlock)
	}
	if err != nil {
		return 0, fmt.Errorf("%w, at page %d of slot %d", err, w.Page, s.Slot)
	}
	return sum, nil
}
