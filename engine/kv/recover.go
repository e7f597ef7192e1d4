package kv

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine/blob"
)

// recovery is what an opening knows while it reads. Maps are by slot or by hash of what the journals are about only: the rest of
// the index, which may have 10^7 entries, is looked up where it is.
type recovery struct {
	s *Store

	clean    bool   // the store was closed
	whole    bool   // the checkpoint was read to its end
	intact   bool   // so were the journals
	first    uint64 // journal to replay
	sequence uint64 // of the checkpoint: blocks with a higher one are newer
	last     uint64 // highest sequence seen

	owners    map[uint32]*owner // by their numbers in the files
	read      map[uint32]bool   // slots that the checkpoint has told of
	begun     map[uint32]bool   // slots that are filled, as far as the checkpoint knows
	used      map[uint32]uint32 // by slot, how far it was filled when the checkpoint was written
	end       map[uint32]uint32 // by slot, the page behind the last block that is known
	placed    map[uint32]bool   // slots whose entries are in byPlace: those that journals are about
	byPlace   map[uint64]uint32 // numbers of entries, by slot and page
	sequences map[uint64]uint64 // by hash, of blocks that came after the checkpoint
	size      int64             // of the journals
	walked    bool              // blocks were found that neither checkpoint nor journal had told of
}

// recover makes the index what it was, and says whether checkpoint and journals are so as well.
func (s *Store) recover() (known bool, err error) {
	r := &recovery{
		s: s, intact: true, owners: map[uint32]*owner{}, read: map[uint32]bool{}, begun: map[uint32]bool{},
		used: map[uint32]uint32{}, end: map[uint32]uint32{}, placed: map[uint32]bool{}, byPlace: map[uint64]uint32{},
		sequences: map[uint64]uint64{},
	}
	if err := r.openSegments(); err != nil {
		return false, err
	}
	if err := r.checkpoint(); err != nil {
		return false, err
	}
	if err := r.journals(); err != nil {
		return false, err
	}
	if s.o.ReadOnly && r.overtaken() {
		return false, errOvertaken
	}
	for _, g := range s.allSegments() {
		if err := r.walk(g); err != nil {
			return false, err
		}
	}
	s.sequence.Store(max(r.sequence, r.last))
	r.arrange()
	s.catalog.pending = r.size
	return r.whole && r.intact && !r.walked, nil
}

// openSegments opens the files that there are. A directory may have more than the capacity allows, of an opening with a larger
// one; they are emptied once the index is known, since before nobody can say which of their blocks are worth it.
func (r *recovery) openSegments() error {
	s := r.s
	slots, err := s.blobs.Slots()
	if err != nil {
		return fmt.Errorf("kv: open: %w", err)
	}
	highest := s.rings.limit + 1
	if len(slots) > 0 {
		highest = max(highest, int(slots[len(slots)-1])+1)
	}
	if uint64(highest)*uint64(s.index.perSegment) >= uint64(noRef) {
		return fmt.Errorf("%w: there is a segment %d, but there can be none", ErrCorrupt, highest-1)
	}
	s.index.segments = make([]*segment, highest)
	for _, slot := range slots {
		b, err := s.blobs.Open(slot)
		if s.o.ReadOnly && errors.Is(err, fs.ErrNotExist) {
			continue // its owner has just removed it
		}
		if err != nil {
			return fmt.Errorf("kv: open: %w", err)
		}
		s.index.segments[slot] = &segment{Segment: b}
		s.rings.count++
		r.sawEpoch(b.Epoch())
	}
	return nil
}

func (r *recovery) sawEpoch(epoch uint64) {
	r.s.epoch.Store(max(r.s.epoch.Load(), epoch>>24))
}

// checkpoint takes in what the checkpoint says. A frame that is damaged costs its segment a walk.
func (r *recovery) checkpoint() error {
	s := r.s
	frames, size, err := s.catalog.read(filepath.Join(s.dir, checkpointName))
	if err != nil {
		return err
	}
	// Tables that grow while they are filled would be made, and filled, many times.
	s.index.reserve(min(int(size/entryBytes), s.rings.total()*int(s.index.perSegment)))
	damaged := false
	for {
		kind, content, ok, err := frames.next()
		damaged = damaged || !ok
		switch {
		case err != nil || kind == noFrame:
			r.link()
			return errors.Join(err, frames.close())
		case !ok: // its length may be right
		case kind == frameCheckpoint && len(content) >= checkpointBytes && le.Uint32(content) == catalogVersion:
			r.clean = le.Uint32(content[4:]) == 1
			r.first, r.sequence = le.Uint64(content[8:]), le.Uint64(content[16:])
		case kind == frameSegment && len(content) >= 28:
			r.segment(content)
		case kind == frameEnd:
			r.whole = !damaged
		default:
			r.names(kind, content)
		}
	}
}

// names takes in an owner or a quota, of a checkpoint or a journal.
func (r *recovery) names(kind uint16, content []byte) {
	switch {
	case kind == frameOwner && len(content) >= 8:
		n := uint64(le.Uint32(content[4:]))
		if n > uint64(len(content)-8) {
			return
		}
		namespace, salt := string(content[8:8+n]), string(content[8+n:])
		if o, err := r.s.owners.intern(namespace, salt); err == nil {
			r.owners[le.Uint32(content)] = o
		}
	case kind == frameQuota && len(content) >= 8:
		r.s.owners.setQuota(string(content[8:]), int64(le.Uint64(content)))
	}
}

// find returns the segment of a slot if it has that epoch.
func (r *recovery) find(slot uint32, epoch uint64) *segment {
	if int64(slot) >= int64(len(r.s.index.segments)) {
		return nil
	}
	g := r.s.index.segments[slot]
	if g == nil || g.Epoch() != epoch {
		return nil
	}
	return g
}

// segment takes in a segment of a checkpoint. The epoch tells whether it is the filling that the checkpoint has seen: entries of
// an earlier one would name blocks that were overwritten.
func (r *recovery) segment(b []byte) {
	slot, ring, epoch := le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:])
	if int64(slot) < int64(len(r.s.index.segments)) {
		if g := r.s.index.segments[slot]; g != nil && g.Epoch() == 0 {
			g.Assume(epoch, ring&^openBit)
			r.sawEpoch(epoch)
		}
	}
	g := r.find(slot, epoch)
	if g == nil {
		return // it was filled anew, or is gone
	}
	known := true
	g.Assume(epoch, ring&^openBit) // one that was renewed is in the main ring, whatever its header says
	g.turn.Store(uint64(len(r.begun)) + 1)
	r.begun[slot] = ring&openBit != 0
	r.used[slot] = le.Uint32(b[16:])
	r.end[slot] = r.used[slot]
	g.expect(min(uint32(len(b)-28)/entryBytes, r.s.index.perSegment))
	for b = b[28:]; len(b) >= entryBytes; b = b[entryBytes:] {
		e := readEntry(b)
		switch {
		case !r.own(&e):
			known = false
		case r.fits(&e) && g.entryCount() < r.s.index.perSegment:
			g.add(e)
			r.s.account(g, &e, 1)
			r.end[slot] = max(r.end[slot], blob.End(e.page, e.length))
		}
	}
	if r.read[slot] = known; !known {
		r.used[slot] = 0 // the headers of the blocks say whose they are
	}
}

// own gives an entry the number that its owner has now; false where nobody knows it.
func (r *recovery) own(e *entry) bool {
	o := r.owners[e.owner()]
	if o == nil {
		return false
	}
	e.state = e.state&^(ownerMask|liveBit) | o.number | liveBit
	return true
}

// fits says whether there is a place for an entry in its segment, whatever a file says.
func (r *recovery) fits(e *entry) bool {
	return uint64(blob.End(e.page, e.length)) <= uint64(r.s.blobs.SegmentBytes/blob.PageBytes-1)
}

// linkBits many of the highest bits of a hash say with which others the checkpoint's entries are put into the tables: the tables of
// that many fit into a processor's own memory, which to walk over all entries again each time takes less than to wait for memory at
// each entry.
const linkBits = 4

// link has the index find the entries of the checkpoint, by as many workers as there are processors.
func (r *recovery) link() {
	var next atomic.Uint64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for part := next.Add(1) - 1; part < 1<<linkBits; part = next.Add(1) - 1 {
				r.linkPart(part)
			}
		})
	}
	work.Wait()
}

// linkPart links the entries whose hashes begin so. Of two of one hash the later one stays. Nobody else has these shards now, and no
// lock is taken, at which a processor would wait for what it has asked of the memory before.
func (r *recovery) linkPart(part uint64) {
	x := &r.s.index
	for _, g := range x.segments {
		if g == nil {
			continue
		}
		for i := range g.entryCount() {
			e := g.entries.at(i)
			if e.hash>>(64-linkBits) != part {
				continue
			}
			t := x.shard(e.hash)
			if at := x.find(t, e.hash); at >= 0 {
				r.s.dropLocked(t, r.s.segmentOf(t.refs[at]), x.entry(t.refs[at]))
			}
			x.add(t, e.hash, g.Slot*x.perSegment+i)
		}
	}
}

func placeOf(g *segment, page uint32) uint64 { return uint64(g.Slot)<<32 | uint64(page) }

// insert makes an entry the one of its hash, in the place of any other.
func (r *recovery) insert(g *segment, e entry) {
	s := r.s
	if !r.fits(&e) {
		return
	}
	t := s.index.shard(e.hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := s.index.find(t, e.hash); i >= 0 {
		s.dropLocked(t, s.segmentOf(t.refs[i]), s.index.entry(t.refs[i]))
	}
	if !r.revive(t, g, e) {
		if g.entryCount() >= s.index.perSegment {
			return // more than there can be
		}
		s.insertLocked(t, g, e)
		if r.placed[g.Slot] {
			r.byPlace[placeOf(g, e.page)] = g.entryCount() - 1
		}
	}
	r.end[g.Slot] = max(r.end[g.Slot], blob.End(e.page, e.length))
}

// revive uses the entry that a place had before, so that a segment has no more entries than blocks.
func (r *recovery) revive(t *shard, g *segment, e entry) bool {
	if !r.placed[g.Slot] {
		return false
	}
	old := r.entryAt(g, e.page)
	if old == nil || old.live() {
		return false
	}
	*old = e
	r.s.index.put(t, e.hash, g.Slot*r.s.index.perSegment+r.byPlace[placeOf(g, e.page)])
	r.s.account(g, old, 1)
	return true
}

// journals replays them in their order.
func (r *recovery) journals() error {
	numbers, err := r.s.catalog.journals()
	if err != nil {
		return fmt.Errorf("kv: open: %w", err)
	}
	replayed := false
	for _, n := range numbers {
		r.s.catalog.number = max(r.s.catalog.number, n)
		if n < r.first || !r.whole {
			continue // what it says is in the checkpoint, or in the headers of the blocks
		}
		size, err := r.replay(n)
		if err != nil {
			return err
		}
		replayed = replayed || size > 0
		r.size += size
	}
	r.s.catalog.number = max(r.s.catalog.number, r.first)
	r.clean = r.clean && !replayed
	return nil
}

// replay takes in a journal up to where it is damaged or torn, and returns its size. What stands behind is not trusted although it
// may be sound: notes are about what earlier ones have made, and without one of them the next may bring back a block that was
// replaced.
func (r *recovery) replay(number uint64) (size int64, err error) {
	frames, size, err := r.s.catalog.read(r.s.catalog.journalPath(number))
	if err != nil {
		return 0, err
	}
	for {
		kind, content, ok, err := frames.next()
		r.intact = r.intact && ok
		if err != nil || !ok || kind == noFrame {
			return size, errors.Join(err, frames.close())
		}
		r.note(kind, content)
	}
}

// note takes in a frame of a journal.
func (r *recovery) note(kind uint16, content []byte) {
	switch {
	case kind == framePublish && len(content) >= 20+entryBytes:
		r.publish(content)
	case kind == frameDead && len(content) >= 16:
		r.change(content, func(t *shard, g *segment, e *entry) { r.s.dropLocked(t, g, e) })
	case kind == frameChange && len(content) >= 24:
		r.change(content, func(_ *shard, g *segment, e *entry) {
			r.s.account(g, e, -1)
			e.expires, e.state = le.Uint32(content[16:]), e.state&^pinnedBit|le.Uint32(content[20:])&pinnedBit
			r.s.account(g, e, 1)
		})
	case kind == frameEmptied && len(content) >= 12:
		if g := r.find(le.Uint32(content), le.Uint64(content[4:])); g != nil {
			r.emptied(g)
		}
	default:
		r.names(kind, content)
	}
}

// publish takes in that a block has become the one of its key. Its segment may have been filled anew since then.
func (r *recovery) publish(content []byte) {
	sequence := le.Uint64(content[12:])
	r.last = max(r.last, sequence)
	e := readEntry(content[20:])
	g := r.find(le.Uint32(content), le.Uint64(content[4:]))
	if g == nil {
		// The block is gone, but so is what it had replaced.
		r.forget(e.hash)
		return
	}
	r.sequences[e.hash] = sequence
	r.entryAt(g, e.page) // from now on the places of the segment are known
	if r.has(g, &e) {
		return
	}
	if !r.own(&e) {
		r.intact = false
		return
	}
	r.insert(g, e)
}

// has says whether an entry is in the index already, as it is when the checkpoint was written at the same time.
func (r *recovery) has(g *segment, e *entry) bool {
	s := r.s
	t := s.index.shard(e.hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := s.index.find(t, e.hash)
	return i >= 0 && s.segmentOf(t.refs[i]) == g && s.index.entry(t.refs[i]).page == e.page
}

// forget takes a hash out of the index.
func (r *recovery) forget(hash uint64) {
	s := r.s
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := s.index.find(t, hash); i >= 0 {
		s.dropLocked(t, s.segmentOf(t.refs[i]), s.index.entry(t.refs[i]))
	}
}

// change has f change the live entry that a note is about.
func (r *recovery) change(content []byte, f func(*shard, *segment, *entry)) {
	g := r.find(le.Uint32(content), le.Uint64(content[4:]))
	if g == nil {
		return
	}
	page := le.Uint32(content[12:])
	e := r.entryAt(g, page)
	if e == nil {
		return
	}
	t := r.s.index.shard(e.hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.live() && e.page == page {
		f(t, g, e)
	}
}

// entryAt finds an entry by its place. The places of a segment are collected when a note is about it first.
func (r *recovery) entryAt(g *segment, page uint32) *entry {
	if !r.placed[g.Slot] {
		r.placed[g.Slot] = true
		for i := range g.entryCount() {
			r.byPlace[placeOf(g, g.entries.at(i).page)] = i
		}
	}
	i, ok := r.byPlace[placeOf(g, page)]
	if !ok {
		return nil
	}
	return g.entries.at(i)
}

// emptied takes in that nothing of a segment is wanted.
func (r *recovery) emptied(g *segment) {
	for i := range g.entryCount() {
		e := g.entries.at(i)
		t := r.s.index.shard(e.hash)
		t.mu.Lock()
		if e.live() {
			r.s.dropLocked(t, g, e)
		}
		t.mu.Unlock()
		delete(r.byPlace, placeOf(g, e.page))
	}
	g.clearEntries()
	r.read[g.Slot], r.begun[g.Slot] = true, false
	g.Assume(g.Epoch(), freeRing)
}

// walk reads the headers of blocks that neither checkpoint nor journal have told of: from where the last one is known that they
// have told of, or from where the checkpoint has left the segment if a journal cannot be trusted. After a Close, and in segments
// that were not being filled, there are none, and nothing is read.
func (r *recovery) walk(g *segment) error {
	known := r.read[g.Slot]
	switch {
	case g.Ring() == freeRing && g.Epoch() != 0:
		return nil
	case known && (r.clean || !r.begun[g.Slot]):
		return nil
	}
	from := max(r.end[g.Slot], 1)
	if !r.whole || !r.intact {
		from = max(r.used[g.Slot], 1)
	}
	if g.Epoch() == 0 {
		epoch, err := newestEpoch(g)
		if err != nil {
			return fmt.Errorf("kv: open: %w", err)
		}
		g.Assume(epoch, main)
		r.sawEpoch(epoch)
		if epoch == 0 {
			return nil
		}
	}
	r.s.walks++
	end, err := g.Walk(from, func(h blob.Header) { r.found(g, h) })
	if err != nil {
		return fmt.Errorf("kv: open: %w", err)
	}
	r.end[g.Slot] = max(r.end[g.Slot], end)
	return nil
}

// newestEpoch finds the epoch of a segment whose own headers are damaged; 0 where it has no blocks.
func newestEpoch(g *segment) (epoch uint64, err error) {
	_, err = g.Walk(1, func(h blob.Header) { epoch = max(epoch, h.Epoch) })
	return epoch, err
}

// found takes in a block that only its header tells of.
func (r *recovery) found(g *segment, h blob.Header) {
	s := r.s
	r.last = max(r.last, h.Sequence)
	if h.Dead || h.Sequence <= s.identity.Dropped[h.Namespace] {
		return
	}
	o, err := s.owners.intern(h.Namespace, h.Salt)
	if err != nil {
		return
	}
	hash := o.hash(h.Key)
	if r.isOlder(hash, h.Sequence) || r.read[g.Slot] && h.Sequence <= r.sequence {
		return // the checkpoint has told of all that was wanted then
	}
	// A block that is newer than the checkpoint may have been on its way when the process ended.
	if r.whole && h.Sequence > r.sequence && g.Payload(&h, make([]byte, h.Length)) != nil {
		return
	}
	r.sequences[hash] = h.Sequence
	r.walked = true
	e := entry{hash: hash, page: h.Page, length: h.Length, sum: h.Sum, expires: h.Expires, state: o.number | liveBit}
	if h.Pinned {
		e.state |= pinnedBit
	}
	r.insert(g, e)
}

// isOlder says whether the index has something newer under a hash.
func (r *recovery) isOlder(hash, sequence uint64) bool {
	if newest, ok := r.sequences[hash]; ok {
		return sequence <= newest
	}
	t := r.s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.s.index.find(t, hash) >= 0 && sequence <= r.sequence
}

// older compares the turns of two segments: those that the checkpoint knows come in its order, with those that were being filled
// behind the others, which may have been renewed since; then come those that were begun later, by their epochs.
func (r *recovery) older(a, b *segment) int {
	age := func(g *segment) int {
		switch {
		case g.turn.Load() == 0:
			return 2
		case r.begun[g.Slot]:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(age(a), age(b)), cmp.Compare(a.turn.Load(), b.turn.Load()), cmp.Compare(a.Epoch(), b.Epoch()))
}

// arrange puts the segments into the rings. The newest of each ring goes on being filled. One without a live block has no place in
// a ring; it is made void when the first set wants one.
func (r *recovery) arrange() {
	s := r.s
	all := s.allSegments()
	slices.SortFunc(all, r.older)
	for _, g := range all {
		ring := int(g.Ring())
		if ring >= rings || g.Epoch() == 0 || g.live.Load() == 0 {
			s.rings.leaving = append(s.rings.leaving, g) // made void before it is used
			continue
		}
		g.SetUsed(r.end[g.Slot])
		if s.policy.first(false) == main {
			ring = main
		}
		s.rings.install(ring, g)
	}
}

// errOvertaken is returned where a new checkpoint has come while the journals were read: some of those that the one before needs
// may have been removed.
var errOvertaken = errors.New("kv: the owner of the store writes checkpoints faster than they can be read")

// overtaken says whether there is another checkpoint by now than the one that was read.
func (r *recovery) overtaken() bool {
	first, sequence := r.s.checkpointHead()
	return first != r.first || sequence != r.sequence
}
