package kv

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persisting/persisting/engine/blob"
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

// extend gives a ring another segment, unless somebody else has done so since full was seen to be: all writers meet here when a
// segment is full, and each that comes later finds the work done.
func (s *Store) extend(ring int, full *segment) error {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	if s.rings.openOf(ring) != full {
		return nil
	}
	g, err := s.emptySegment(ring, full)
	if g == nil || err != nil {
		return err
	}
	return s.begin(ring, g)
}

// begin has a ring go on in an empty segment. The epoch is on the disk before the first block, whose header names it.
func (s *Store) begin(ring int, g *segment) error {
	if err := g.Begin(s.nextEpoch(), uint32(ring)); err != nil {
		s.rings.putFree(g)
		return err
	}
	if full := s.rings.openOf(ring); full != nil {
		g.expect(full.entryCount()) // blocks are mostly of one length
	}
	s.rings.install(ring, g)
	return nil
}

const (
	// mostTries bounds how many segments are emptied for one: where much is pinned or leased, each gives little.
	mostTries = 4
	// fullFor is how long nothing is emptied after that was in vain.
	fullFor = 100 * time.Millisecond
)

// spare segments are left for the copies of what stays when the next one is emptied.
const spare = 1

// emptySegment returns a segment that holds nothing: a free one, a new one while the capacity has room, or the oldest once it was
// emptied. It does not wait for readers; a set that finds none fails, and the blocks that are read stay. It returns nil where what
// stays of the one that was emptied has begun the next segment of the ring already: to put another behind would leave most of that
// empty. The caller holds s.recycling, here and below.
func (s *Store) emptySegment(ring int, full *segment) (*segment, error) {
	for tries := 0; ; tries++ {
		s.collect()
		if g := s.rings.pop(spare); g != nil {
			return g, nil
		}
		var noFile error
		if s.rings.room() {
			g, err := s.create()
			if err == nil {
				return g, nil
			}
			noFile = err // there may be segments to empty
		}
		if s.rings.leavingCount() > 1 || tries == mostTries || s.o.Now().Before(s.fullUntil) {
			s.fullUntil = s.o.Now().Add(fullFor)
			return nil, errors.Join(errFull, noFile)
		}
		if err := s.recycle(); err != nil {
			return nil, errors.Join(err, noFile)
		}
		if s.rings.openOf(ring) != full {
			return nil, nil
		}
	}
}

// create makes one more segment file, allocated in full, so that no set finds the disk full in the middle of a block.
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

// recycle empties one segment: the first of which at most half has to stay. Where all have more, pins and leases would otherwise
// stop every set, one of which three quarters stay is emptied, which gains little for much writing, and beyond that none.
func (s *Store) recycle() error {
	s.owners.judge()
	for range mostRenewed {
		if !s.renew() {
			break
		}
	}
	for _, most := range []int64{s.blobs.SegmentBytes / 2, s.blobs.SegmentBytes * 3 / 4} {
		for _, g := range s.rings.victims() {
			must, worth, _ := s.sort(g)
			if takenBytes(must) > most {
				continue
			}
			if err := g.Probe(); err != nil {
				return s.failed("empty a segment", err)
			}
			return s.empty(g, append(must, s.affordable(worth, takenBytes(must))...))
		}
	}
	return errFull
}

// mostRenewed bounds how many segments stay as they are before one is emptied. A block that nobody reads any more is worth nothing
// after its reads were halved a few times.
const mostRenewed = 8

// renew has the oldest segment stay as it is, as the newest of the main ring, if 2/5 of it or more are worth it, and says whether
// they are: that costs no write, and what has gathered in one segment because it is read again and again would be written again and
// again otherwise. What of it is worth nothing takes its place for one more turn, unless a quota wants it gone.
func (s *Store) renew() bool {
	victims := s.rings.victims()
	if len(victims) == 0 {
		return false
	}
	g := victims[0]
	_, worth, over := s.sort(g)
	if over || takenBytes(worth) < s.blobs.SegmentBytes*2/5 {
		return false
	}
	for _, c := range worth {
		t := s.index.shard(c.entry.hash)
		t.mu.Lock()
		if e := s.lookAt(t, c.entry.hash, c.ref, c.entry.page); e != nil {
			e.setReads(c.entry.reads())
		}
		t.mu.Unlock()
	}
	s.rings.renew(g)
	return true
}

// affordable are the candidates of the highest rank that may be moved beside so many bytes that have to be. For each segment that is
// emptied 3/13 of one may be, now or later, so that no more than 0.3 bytes are moved for each that is set: a store whose blocks are
// all read would write each of them again and again otherwise, and set nothing new.
func (s *Store) affordable(worth []candidate, must int64) []candidate {
	slices.SortStableFunc(worth, func(a, b candidate) int { return cmp.Compare(b.rank, a.rank) })
	s.allowance = min(s.allowance+s.blobs.SegmentBytes*3/13, 2*s.blobs.SegmentBytes)
	left := min(s.allowance, s.blobs.SegmentBytes/2-must)
	for i, c := range worth {
		if left -= blob.TakenBytes(c.entry.length); left < 0 {
			worth = worth[:i]
			break
		}
	}
	s.allowance -= takenBytes(worth)
	return worth
}

// sort finds the blocks of a segment that have to stay and those that are worth it, and says whether a salt that is over its quota
// has others.
func (s *Store) sort(g *segment) (must, worth []candidate, over bool) {
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
		case s.owners.get(c.entry.owner()).over.Load():
			over = true
		case s.policy.worth(&c):
			worth = append(worth, c)
		}
	}
	return must, worth, over
}

// empty moves the blocks that stay and forgets the others. The copies are on the disk before the segment is void: a crash in
// between finds both, and either will do.
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
	return s.moveTo(to, page, c, &h, buffer)
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

// moveTo writes a copy and makes it the block of its key, if the key has the same block still: it may have been set, deleted or
// found to be damaged while it was read. What changes an entry, but for leases and reads, waits for the stripe meanwhile, and the
// copy keeps the sequence of the block: a copy that the journal does not tell of yet is never newer than what has replaced it, and
// an opening after a crash finds nothing old in it.
func (s *Store) moveTo(to *segment, page uint32, c candidate, h *blob.Header, content []byte) error {
	e := c.entry
	stripe := &s.keys[e.hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(e.hash)
	t.mu.Lock()
	old := s.lookAt(t, e.hash, c.ref, c.entry.page)
	if old == nil {
		t.mu.Unlock()
		to.Return(page, e.length)
		return nil
	}
	e.lease, e.expires = old.lease, old.expires
	e.state = e.state&^pinnedBit | old.state&pinnedBit
	t.mu.Unlock()
	h.Pinned, h.Expires = e.pinned(), e.expires
	if err := to.Write(page, h, [][]byte{content}); err != nil {
		to.Return(page, e.length)
		return err
	}
	s.stats.movedBytes.Add(blob.TakenBytes(e.length))
	e.page = page
	if err := s.notePublish(to, h.Sequence, &e); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old = s.lookAt(t, e.hash, c.ref, c.entry.page); old != nil {
		e.lease = max(e.lease, old.lease)
		s.dropLocked(t, s.segmentOf(c.ref), old)
		s.insertLocked(t, to, e)
	}
	return nil
}
