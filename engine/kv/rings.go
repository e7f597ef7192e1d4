package kv

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// The rings of a segment.
const (
	small = iota
	main
	rings

	freeRing = rings
)

// segment is a segment file with the entries of its blocks.
type segment struct {
	*blob.Segment
	users   atomic.Int32 // reads and writes in it now: it is not filled anew before they have ended
	writers atomic.Int32 // of these, writes: it is not emptied before they have ended
	live    atomic.Int64 // bytes that live blocks take

	mu      sync.Mutex // after that of a shard
	entries entries
}

// add takes an entry in, whose shard is locked.
func (g *segment) add(e entry) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.entries.add()
	*g.entries.at(i) = e
	return i
}

func (g *segment) entryCount() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entries.count
}

func (g *segment) clearEntries() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries.clear()
}

func (g *segment) leave() { g.users.Add(-1) }

func (g *segment) endWrite() {
	g.writers.Add(-1)
	g.users.Add(-1)
}

// ringSet has the segments in the order in which they were begun.
type ringSet struct {
	mu      sync.Mutex
	limit   int // segments that there may be
	most    int // to that many, copies of blocks that stay may add one; guarded by s.recycling
	count   int // segments that there are
	open    [rings]*segment
	sealed  [rings][]*segment // oldest first
	free    []*segment
	leaving []*segment // emptied, but in use
}

// take reserves room for a block in the open segment of a ring, which the caller leaves with endWrite; without room it returns
// the segment alone.
func (r *ringSet) take(ring int, length uint32) (g *segment, page uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g = r.open[ring]; g == nil {
		return nil, 0, false
	}
	if page, ok = g.Reserve(length); ok {
		g.users.Add(1)
		g.writers.Add(1)
	}
	return g, page, ok
}

func (r *ringSet) isOpen(g *segment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[small] == g || r.open[main] == g
}

// install has a ring go on in a segment.
func (r *ringSet) install(ring int, g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.open[ring]; old != nil {
		r.sealed[ring] = append(r.sealed[ring], old)
	}
	r.open[ring] = g
}

func (r *ringSet) openOf(ring int) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[ring]
}

// pop takes a free segment if more than spare are there.
func (r *ringSet) pop(spare int) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) <= spare {
		return nil
	}
	g := r.free[0]
	r.free = r.free[1:]
	return g
}

// room says whether one more segment may be made.
func (r *ringSet) room() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count < r.limit
}

func (r *ringSet) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *ringSet) made(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += by
}

// victims are the segments that may be emptied, best first: those without a block, then the oldest of the ring that is too long.
func (r *ringSet) victims() []*segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, second := main, small
	if len(r.sealed[small])+1 > max(1, r.limit/10) {
		first, second = small, main
	}
	all := slices.Concat(r.sealed[first], r.sealed[second])
	var empty, rest []*segment
	for _, g := range all {
		switch {
		case g.writers.Load() > 0:
		case g.live.Load() == 0:
			empty = append(empty, g)
		default:
			rest = append(rest, g)
		}
	}
	return append(empty, rest...)
}

// retire takes a segment out of its ring, emptied.
func (r *ringSet) retire(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ring := range r.sealed {
		r.sealed[ring] = slices.DeleteFunc(r.sealed[ring], func(other *segment) bool { return other == g })
	}
	r.leaving = append(r.leaving, g)
}

// left takes out one of the emptied segments that nobody uses any more.
func (r *ringSet) left() *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, g := range r.leaving {
		if g.users.Load() == 0 {
			r.leaving = slices.Delete(r.leaving, i, i+1)
			return g
		}
	}
	return nil
}

func (r *ringSet) putFree(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, g)
}

func (r *ringSet) putLeaving(g *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = append(r.leaving, g)
}

func (r *ringSet) leavingCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.leaving)
}

var (
	// errFull is returned where no segment can be emptied: all are pinned, leased or in use.
	errFull = errors.New("kv: no segment can be emptied now")
	// errTooLong is of blocks that fit into no segment.
	errTooLong = errors.New("kv: block is longer than a segment")
)

// reserve takes room for a block in a ring; the caller ends it with endWrite of the segment.
func (s *Store) reserve(ring int, length uint32) (*segment, uint32, error) {
	if int64(length) > s.blobs.MaxLength() {
		return nil, 0, errTooLong
	}
	for {
		full, page, ok := s.rings.take(ring, length)
		if ok {
			return full, page, nil
		}
		if err := s.extend(ring, full); err != nil {
			return nil, 0, err
		}
	}
}

// extend gives a ring another segment, unless somebody else has done so since full was seen to be.
func (s *Store) extend(ring int, full *segment) error {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	if s.rings.openOf(ring) != full {
		return nil
	}
	g, err := s.emptySegment()
	if err != nil {
		return err
	}
	return s.begin(ring, g)
}

// begin has a ring go on in an empty segment.
func (s *Store) begin(ring int, g *segment) error {
	if err := g.Begin(s.nextEpoch(), uint32(ring)); err != nil {
		s.rings.putFree(g)
		return err
	}
	s.rings.install(ring, g)
	return nil
}

// nextEpoch grows; its low bits tell it from one that a crash has taken back.
func (s *Store) nextEpoch() uint64 {
	return s.epoch.Add(1)<<24 | rand.Uint64N(1<<24)
}

const (
	// mostTries bounds how many segments are emptied for one: where much is pinned or leased, each gives little.
	mostTries = 4
	// fullFor is how long nothing is emptied after that was in vain.
	fullFor = 100 * time.Millisecond
)

// spare segments are left for the copies of what stays when the next one is emptied.
const spare = 1

// emptySegment returns a segment that holds nothing. The caller holds s.recycling, here and below.
func (s *Store) emptySegment() (*segment, error) {
	for tries := 0; ; tries++ {
		s.collect()
		if g := s.rings.pop(spare); g != nil {
			return g, nil
		}
		var full error
		if s.rings.room() {
			g, err := s.create()
			if err == nil {
				return g, nil
			}
			full = err // there may be segments to empty
		}
		if s.rings.leavingCount() > 1 || tries == mostTries || s.o.now().Before(s.fullUntil) {
			s.fullUntil = s.o.now().Add(fullFor)
			return nil, errors.Join(errFull, full)
		}
		if err := s.recycle(); err != nil {
			return nil, errors.Join(err, full)
		}
	}
}

func (s *Store) create() (*segment, error) {
	slot := slices.Index(s.index.segments, nil)
	if slot < 0 {
		return nil, errFull
	}
	b, err := s.blobs.Create(uint32(slot))
	if err != nil {
		return nil, err
	}
	g := &segment{Segment: b}
	s.setSegment(uint32(slot), g)
	s.rings.made(1)
	return g, nil
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

// collect makes emptied segments that nobody uses any more void on the disk, and free. What is void before the next segment is
// begun can never be read in the place of something newer.
func (s *Store) collect() {
	for {
		g := s.rings.left()
		if g == nil {
			return
		}
		err := g.Begin(s.nextEpoch(), freeRing)
		if err == nil {
			err = g.Sync()
		}
		if err != nil {
			s.sicken("make a segment void", err)
			s.rings.putLeaving(g)
			return
		}
		s.rings.putFree(g)
	}
}

// candidate is a block of a segment that is emptied.
type candidate struct {
	ref   uint32
	entry entry
	rank  uint32 // how much it is worth
}

// recycle empties one segment.
func (s *Store) recycle() error {
	s.owners.judge()
	for _, most := range []int64{s.blobs.SegmentBytes / 2, s.blobs.SegmentBytes * 3 / 4} {
		for _, g := range s.rings.victims() {
			must, worth := s.sort(g)
			if takenBytes(must) > most {
				continue
			}
			if err := g.Probe(); err != nil {
				return s.failed("empty a segment", err)
			}
			return s.empty(g, append(must, s.affordable(worth)...))
		}
	}
	return errFull
}

func takenBytes(of []candidate) (sum int64) {
	for _, c := range of {
		sum += blob.TakenBytes(c.entry.length)
	}
	return sum
}

// affordable are the candidates of the highest rank, up to 3/10 of a segment.
func (s *Store) affordable(worth []candidate) []candidate {
	slices.SortStableFunc(worth, func(a, b candidate) int { return cmp.Compare(b.rank, a.rank) })
	left := s.blobs.SegmentBytes * 3 / 10
	for i, c := range worth {
		if left -= blob.TakenBytes(c.entry.length); left < 0 {
			return worth[:i]
		}
	}
	return worth
}

// sort finds the blocks of a segment that have to stay and those that are worth it.
func (s *Store) sort(g *segment) (must, worth []candidate) {
	now, tick := s.seconds(), s.tick()
	for i := range g.entryCount() {
		c := candidate{ref: g.Slot*s.index.perSegment + i}
		e := g.entries.at(i)
		t := s.index.shard(e.hash)
		t.mu.Lock()
		c.entry = *e
		t.mu.Unlock()
		switch {
		case !c.entry.live() || c.entry.expired(now):
		case c.entry.pinned() || c.entry.lease > tick:
			must = append(must, c)
		case s.policy.worth(g.Ring(), &c) && !s.owners.get(c.entry.owner()).over.Load():
			worth = append(worth, c)
		}
	}
	return must, worth
}

// policy are the rules of what is worth keeping.
type policy string

// first is the ring that a new block goes to.
func (p policy) first(known bool) int {
	if p == "s3fifo" && !known {
		return small
	}
	return main
}

// mostReads is up to where reads are counted.
func (p policy) mostReads() uint32 {
	if p == "lfu" {
		return readsMask >> ownerBits
	}
	return 3
}

// worth says whether a block that nothing else protects is kept, with which rank, and sets what its count of reads is then.
func (p policy) worth(ring uint32, c *candidate) bool {
	reads := c.entry.reads()
	c.rank = reads
	switch p {
	case "s3fifo":
		if ring == main {
			c.entry.setReads(reads - min(reads, 1))
		} else {
			c.entry.setReads(0)
		}
	case "lru":
		c.rank = 1
		c.entry.setReads(0)
	case "lfu":
		c.entry.setReads(reads / 2)
	default:
		return false
	}
	return reads > 0
}

// empty moves the blocks that stay and forgets the others.
func (s *Store) empty(g *segment, stay []candidate) error {
	slices.SortFunc(stay, func(a, b candidate) int { return cmp.Compare(a.entry.page, b.entry.page) })
	for _, c := range stay {
		if err := s.move(g, c); err != nil {
			return s.failed("move a block", err)
		}
	}
	if len(stay) > 0 && s.o.Sync != "never" {
		if err := errors.Join(s.syncSegments(), s.catalog.sync()); err != nil {
			return s.failed("sync moved blocks", err)
		}
	}
	if err := s.catalog.append(frameEmptied, placeContent(g, 0)[:12]); err != nil {
		return s.failed("note an empty segment", err)
	}
	s.forgetAll(g)
	s.rings.retire(g)
	return nil
}

// forgetAll drops what a segment still has.
func (s *Store) forgetAll(g *segment) {
	for i := range g.entryCount() {
		e := g.entries.at(i)
		t := s.index.shard(e.hash)
		t.mu.Lock()
		if e.live() {
			s.dropLocked(t, g, e)
			s.ghosts.add(e.hash)
			s.stats.evicted.Add(1)
			s.stats.evictedBytes.Add(int64(e.length))
		}
		t.mu.Unlock()
	}
	g.clearEntries()
}

// move writes a block again, into the main ring. One that has turned out to be damaged is dropped.
func (s *Store) move(from *segment, c candidate) error {
	h, err := from.Header(c.entry.page)
	buffer := make([]byte, c.entry.length)
	if err == nil && h.Length != c.entry.length {
		err = fmt.Errorf("%w: length is %d, want %d", blob.ErrBlock, h.Length, c.entry.length)
	}
	if err == nil {
		err = from.Payload(&h, buffer)
	}
	if err != nil {
		s.stats.damaged.Add(1)
		s.o.Logger.Warn("a block that was to be moved cannot be read", "error", err)
		return nil // the rest of the segment is emptied all the same, and this with it
	}
	to, page, err := s.reserveMove(c.entry.length)
	if err != nil {
		return err
	}
	defer to.endWrite()
	h.Sequence, h.Pinned, h.Expires = s.sequence.Add(1), c.entry.pinned(), c.entry.expires
	if err := to.Write(page, &h, [][]byte{buffer}); err != nil {
		to.Return(page, c.entry.length)
		return err
	}
	moved := c.entry
	moved.page = page
	s.stats.movedBytes.Add(blob.TakenBytes(moved.length))
	return s.publishMove(c.ref, to, h.Sequence, moved)
}

// reserveMove is reserve while a segment is emptied: there is always one that is free for that.
func (s *Store) reserveMove(length uint32) (*segment, uint32, error) {
	for {
		g, page, ok := s.rings.take(main, length)
		if ok {
			return g, page, nil
		}
		next := s.rings.pop(0)
		if next == nil {
			if s.rings.total() > s.rings.most {
				return nil, 0, errFull
			}
			var err error
			if next, err = s.create(); err != nil {
				return nil, 0, err
			}
		}
		if err := s.begin(main, next); err != nil {
			return nil, 0, err
		}
	}
}
