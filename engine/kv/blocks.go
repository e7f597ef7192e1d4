package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// Results of a key of a batch; those above 0 are success.
const (
	OK      int8 = 1  // it was loaded, stored or changed
	Present int8 = 2  // it was stored with the same bytes before
	Absent  int8 = 0  // there is no such key
	Length  int8 = -1 // its block has another length than the buffer
	Damaged int8 = -2 // what was on the disk was not the block
	Failed  int8 = -3 // the disk failed
	Shed    int8 = -4 // the queue was full, or the deadline had passed
	Refused int8 = -5 // the admission did not take it
	Full    int8 = -6 // no segment could be emptied: all are pinned, leased or in use
	TooLong int8 = -7 // it does not fit into a segment
)

func (e *entry) expired(now uint32) bool { return e.expires != 0 && e.expires <= now }

// read counts an access.
func (s *Store) read(e *entry) {
	if reads := e.reads(); reads < s.policy.mostReads() {
		e.setReads(reads + 1)
	}
}

// look finds the live entry of a hash; nil where there is none. The shard is locked.
func (s *Store) look(t *shard, hash uint64) (e *entry, ref uint32) {
	i := s.index.find(t, hash)
	if i < 0 {
		return nil, noRef
	}
	ref = t.refs[i]
	e = s.index.entry(ref)
	if e.expires != 0 && e.expired(s.seconds()) { // most need no look at the clock
		s.stats.expired.Add(1)
		s.dropLocked(t, s.segmentOf(ref), e)
		return nil, noRef
	}
	return e, ref
}

func (s *Store) segmentOf(ref uint32) *segment { return s.index.segments[ref/s.index.perSegment] }

// dropLocked takes a live entry out of the index and the accounts.
func (s *Store) dropLocked(t *shard, g *segment, e *entry) {
	if i := s.index.find(t, e.hash); i >= 0 && s.index.entry(t.refs[i]) == e {
		s.index.remove(t, i)
	}
	s.account(g, e, -1)
	e.state &^= liveBit
}

// account adds an entry to what is counted, or takes it away.
func (s *Store) account(g *segment, e *entry, sign int64) {
	taken := sign * blob.TakenBytes(e.length)
	g.live.Add(taken)
	o := s.owners.get(e.owner())
	o.keys.Add(sign)
	o.bytes.Add(taken)
	if e.pinned() {
		s.pinned.Add(taken)
	}
}

// load reads one block into the pieces, whose lengths make total. Where another set or a delete comes between, what there is after
// it is read: the block that it replaced says that it was, which is no damage.
func (s *Store) load(o *owner, key []byte, pieces [][]byte, total int64) int8 {
	hash := o.hash(key)
	t := s.index.shard(hash)
	for {
		t.mu.Lock()
		e, ref := s.look(t, hash)
		if e == nil {
			t.mu.Unlock()
			return s.miss(hash)
		}
		if int64(e.length) != total {
			t.mu.Unlock()
			s.stats.missedLength.Add(1)
			return Length
		}
		want := blob.Want{Page: e.page, Length: e.length, Namespace: o.namespace, Key: key}
		s.read(e)
		g := s.segmentOf(ref)
		g.users.Add(1)
		t.mu.Unlock()
		err := g.Read(want, pieces)
		g.leave()
		if err == nil {
			s.stats.hits.Add(1)
			s.stats.readBytes.Add(total)
			return OK
		}
		if s.has(hash, ref, want.Page) {
			return s.bad(hash, ref, want.Page, err)
		}
	}
}

// has says whether a block is that of its hash still.
func (s *Store) has(hash uint64, ref, page uint32) bool {
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.lookAt(t, hash, ref, page) != nil
}

// lookAt is look for a block that was found before; nil where the hash has another now, or none. The shard is locked.
func (s *Store) lookAt(t *shard, hash uint64, ref, page uint32) *entry {
	if e, now := s.look(t, hash); e != nil && now == ref && e.page == page {
		return e
	}
	return nil
}

// miss counts a key that is not there.
func (s *Store) miss(hash uint64) int8 {
	s.stats.missedAbsent.Add(1)
	if s.o.Admission == "second_hit" {
		s.sketch.seen(hash)
	}
	return Absent
}

// bad counts a block that could not be read and forgets it, so that nobody tries it for ever.
func (s *Store) bad(hash uint64, ref, page uint32, err error) int8 {
	if s.o.ReadOnly && errors.Is(err, blob.ErrBlock) && s.replaced(ref, page) {
		return s.miss(hash)
	}
	s.o.Logger.Warn("a block cannot be read", "error", err)
	result, counter := Failed, &s.stats.missedFailed
	if errors.Is(err, blob.ErrBlock) {
		result, counter = Damaged, &s.stats.missedDamaged
	}
	counter.Add(1)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	e := s.lookAt(t, hash, ref, page)
	if e == nil {
		t.mu.Unlock()
		return result
	}
	g := s.segmentOf(ref)
	note := placeContent(g, page)
	s.dropLocked(t, g, e)
	t.mu.Unlock()
	// After a failure of the disk, the next opening may try it again.
	if result == Failed || s.catalog.append(frameDead, note) != nil {
		s.doubts.add(hash, s.sequence.Load())
	}
	return result
}

// Exists returns the length of a block, -1 where there is none. For lease it is not forgotten. No disk is waited for.
func (s *Store) Exists(space uint32, key []byte, lease time.Duration) (int64, error) {
	o, err := s.space(space)
	if err != nil {
		return -1, err
	}
	return s.exists(o, key, s.leaseUpTo(lease)), nil
}

func (s *Store) leaseUpTo(lease time.Duration) uint32 {
	if lease <= 0 {
		return 0
	}
	return s.tick() + uint32(min(lease/tickLength, math.MaxInt32)) + 1
}

func (s *Store) exists(o *owner, key []byte, upTo uint32) int64 {
	hash := o.hash(key)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, _ := s.look(t, hash)
	if e == nil {
		if s.o.Admission == "second_hit" {
			s.sketch.seen(hash)
		}
		return -1
	}
	e.lease = max(e.lease, upTo)
	return int64(e.length)
}

// ExistsAll is Exists for each key; it fills lengths.
func (s *Store) ExistsAll(space uint32, keys [][]byte, lease time.Duration, lengths []int64) error {
	o, err := s.space(space)
	if err != nil {
		return err
	}
	upTo := s.leaseUpTo(lease)
	for i, key := range keys {
		lengths[i] = s.exists(o, key, upTo)
	}
	return nil
}

// Prefix returns how many keys from the first on exist, and protects them for lease.
func (s *Store) Prefix(space uint32, keys [][]byte, lease time.Duration) (n int, err error) {
	o, err := s.space(space)
	if err != nil {
		return 0, err
	}
	upTo := s.leaseUpTo(lease)
	for n < len(keys) && s.exists(o, keys[n], upTo) >= 0 {
		n++
	}
	return n, nil
}

// orders makes the last of several sets of a key win that are on their way at the same time, and a delete win over all that were
// submitted before it.
type orders struct {
	mu   sync.Mutex
	keys map[uint64]*order
}

type order struct {
	pending    int    // sets on their way
	last, done uint64 // numbers that were given, and the highest that has ended
}

// begin numbers a set.
func (x *orders) begin(hash uint64) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.keys == nil {
		x.keys = map[uint64]*order{}
	}
	w := x.keys[hash]
	if w == nil {
		w = &order{}
		x.keys[hash] = w
	}
	w.pending++
	w.last++
	return w.last
}

// wins says whether no later set or delete has ended, and notes that this one has.
func (x *orders) wins(hash, number uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.keys[hash]
	if number < w.done {
		return false
	}
	w.done = number
	return true
}

func (x *orders) end(hash uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.keys[hash]
	if w.pending--; w.pending == 0 {
		delete(x.keys, hash)
	}
}

// overtake has all sets that are on their way lose.
func (x *orders) overtake(hash uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w := x.keys[hash]; w != nil {
		w.last++
		w.done = w.last
	}
}

func (s *Store) ordersOf(hash uint64) *orders { return &s.orders[hash%stripes] }

// put stores one block, whose set has that number among those of its key.
func (s *Store) put(o *owner, key []byte, pieces [][]byte, length uint32, ttl time.Duration, number uint64) int8 {
	hash := o.hash(key)
	if ref := s.same(o, hash, key, pieces, length); ref != noRef && s.confirm(hash, ref, number) {
		s.stats.setPresent.Add(1)
		return Present
	}
	if s.isSick() {
		s.stats.setFailed.Add(1)
		return Failed
	}
	known := s.ghosts.has(hash)
	if s.o.Admission == "second_hit" && !known && s.sketch.seen(hash) == 0 {
		s.stats.setRefused.Add(1)
		return Refused
	}
	g, page, err := s.reserve(s.policy.first(known), length)
	if err != nil {
		return s.noRoom(err)
	}
	defer g.endWrite()
	h := blob.Header{
		Sequence: s.sequence.Add(1), Written: s.o.now().UnixNano(), Length: length, Expires: s.expiry(ttl),
		Namespace: o.namespace, Salt: o.salt, Key: key,
	}
	err = g.Write(page, &h, pieces)
	if err == nil && s.o.Sync == "each" {
		err = g.Sync()
	}
	if err == nil {
		e := entry{hash: hash, page: page, length: length, sum: h.Sum, expires: h.Expires, state: o.number | liveBit}
		err = s.publish(g, h.Sequence, e, number)
	}
	if err != nil {
		s.discard(g, &h, hash)
		g.Return(page, length)
		s.sicken("store a block", err)
		s.stats.setFailed.Add(1)
		return Failed
	}
	s.stats.sets.Add(1)
	s.stats.writtenBytes.Add(blob.TakenBytes(length))
	return OK
}

// discard makes sure that a block whose set has failed, but which may be whole on the disk, is not found by the next opening.
func (s *Store) discard(g *segment, h *blob.Header, hash uint64) {
	if g.MarkDead(h.Page) != nil {
		s.doubts.add(hash, h.Sequence)
	}
}

// doubts are the hashes of blocks that are not in the index, but which an opening may find, with their sequences. The next
// checkpoint settles them: what it does not have, and is not newer, is not taken in.
type doubts struct {
	mu sync.Mutex
	of map[uint64]uint64
}

func (d *doubts) add(hash, sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[uint64]uint64{}
	}
	d.of[hash] = sequence
}

func (d *doubts) has(hash uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.of[hash]
	return ok
}

func (d *doubts) settle(sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for hash, of := range d.of {
		if of <= sequence {
			delete(d.of, hash)
		}
	}
}

// errDoubt is returned by a Delete of such a key.
var errDoubt = errors.New("kv: the disk has failed for this key before: a block of it may be found after a crash")

// noRoom counts a set for which there was no room.
func (s *Store) noRoom(err error) int8 {
	switch {
	case errors.Is(err, errTooLong):
		s.stats.setRefused.Add(1)
		return TooLong
	case errors.Is(err, errFull):
		s.stats.setFull.Add(1)
		return Full
	}
	s.sicken("find room", err)
	s.stats.setFailed.Add(1)
	return Failed
}

// expiry is when a block ends that is set now.
func (s *Store) expiry(ttl time.Duration) uint32 {
	if ttl <= 0 {
		ttl = time.Duration(s.o.TTL * float64(time.Second))
	}
	if ttl <= 0 {
		return 0
	}
	at := s.o.now().Add(ttl + time.Second - 1).Unix()
	return uint32(min(at, math.MaxUint32))
}

// same finds the block of a key if it has these bytes: the checksums are compared, and then the bytes themselves, so that nothing
// else is ever taken for them.
func (s *Store) same(o *owner, hash uint64, key []byte, pieces [][]byte, length uint32) uint32 {
	t := s.index.shard(hash)
	t.mu.Lock()
	e, ref := s.look(t, hash)
	if e == nil || e.length != length {
		t.mu.Unlock()
		return noRef
	}
	page, sum := e.page, e.sum
	g := s.segmentOf(ref)
	g.users.Add(1)
	t.mu.Unlock()
	defer g.leave()
	if blob.Checksum(pieces) != sum {
		return noRef
	}
	stored := make([]byte, length)
	if err := g.Read(blob.Want{Page: page, Length: length, Namespace: o.namespace, Key: key}, [][]byte{stored}); err != nil {
		return noRef // it is written again
	}
	for _, p := range pieces {
		if !bytes.Equal(p, stored[:len(p)]) {
			return noRef
		}
		stored = stored[len(p):]
	}
	return ref
}

// confirm ends a set of bytes that are there already, unless another set has replaced them meanwhile.
func (s *Store) confirm(hash uint64, ref uint32, number uint64) bool {
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, now := s.look(t, hash)
	if e == nil || now != ref {
		return false
	}
	s.read(e)
	s.ordersOf(hash).wins(hash, number)
	return true
}

// publish makes a block that is written whole the one of its key.
func (s *Store) publish(g *segment, sequence uint64, e entry, number uint64) error {
	stripe := &s.keys[e.hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	if !s.ordersOf(e.hash).wins(e.hash, number) {
		return nil // as if it had been replaced at once
	}
	if err := s.notePublish(g, sequence, &e); err != nil {
		return err
	}
	t := s.index.shard(e.hash)
	t.mu.Lock()
	i := s.index.find(t, e.hash)
	var before *segment
	var page uint32
	if i >= 0 {
		old := s.index.entry(t.refs[i])
		before, page = s.segmentOf(t.refs[i]), old.page
		before.users.Add(1)
		s.dropLocked(t, before, old)
	}
	s.insertLocked(t, g, e)
	t.mu.Unlock()
	if before != nil {
		s.markDead(before, page)
	}
	return nil
}

// insertLocked gives a hash that has no entry one.
func (s *Store) insertLocked(t *shard, g *segment, e entry) {
	ref := g.Slot*s.index.perSegment + g.add(e)
	s.index.put(t, e.hash, ref)
	s.account(g, &e, 1)
}

// markDead notes beside a block, in whose segment the caller is a user, that it is not wanted any more. It is read only when the
// catalog is lost, which knows it as well.
func (s *Store) markDead(g *segment, page uint32) {
	if err := g.MarkDead(page); err != nil {
		s.o.Logger.Warn("a replaced block cannot be marked", "error", err)
	}
	g.leave()
}

// publishMove makes a copy the block of its key, if the key has the same block still.
func (s *Store) publishMove(from uint32, to *segment, sequence uint64, e entry) error {
	stripe := &s.keys[e.hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(e.hash)
	t.mu.Lock()
	old, now := s.look(t, e.hash)
	if old == nil || now != from {
		t.mu.Unlock()
		return nil
	}
	e.lease, e.expires = old.lease, old.expires
	e.state = e.state&^pinnedBit | old.state&pinnedBit
	t.mu.Unlock()
	// What changes the entry meanwhile, but for leases and reads, waits for the stripe.
	if err := s.notePublish(to, sequence, &e); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, now = s.look(t, e.hash); old != nil && now == from {
		e.lease = max(e.lease, old.lease)
		s.dropLocked(t, s.segmentOf(from), old)
		s.insertLocked(t, to, e)
	}
	return nil
}

// Delete removes a key.
func (s *Store) Delete(space uint32, key []byte) (bool, error) {
	if err := s.enterChange(); err != nil {
		return false, err
	}
	defer s.exit()
	o, err := s.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	s.ordersOf(hash).overtake(hash)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	e, ref := s.look(t, hash)
	if e == nil {
		t.mu.Unlock()
		if s.doubts.has(hash) {
			return false, errDoubt
		}
		return false, nil
	}
	g, page := s.segmentOf(ref), e.page
	g.users.Add(1)
	s.dropLocked(t, g, e)
	t.mu.Unlock()
	s.markDead(g, page)
	s.stats.deleted.Add(1)
	if err := s.catalog.append(frameDead, placeContent(g, page)); err != nil {
		return true, s.failed("note that a block is deleted", err)
	}
	return true, nil
}

// Touch counts an access without reading, and sets when the block expires if ttl is not 0. Without that no disk is waited for.
func (s *Store) Touch(space uint32, key []byte, ttl time.Duration) (bool, error) {
	if ttl <= 0 {
		return s.touch(space, key)
	}
	return s.change(space, key, func(e *entry) error {
		s.read(e)
		e.expires = s.expiry(ttl)
		return nil
	})
}

func (s *Store) touch(space uint32, key []byte) (bool, error) {
	o, err := s.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, _ := s.look(t, hash)
	if e == nil {
		return false, nil
	}
	s.read(e)
	return true, nil
}

// Pin keeps a block until Unpin, whatever else is forgotten. It fails with [ErrPinned].
func (s *Store) Pin(space uint32, key []byte) (bool, error) {
	return s.change(space, key, func(e *entry) error {
		taken := blob.TakenBytes(e.length)
		if e.pinned() {
			return nil
		}
		if s.pinned.Load()+taken > s.o.CapacityBytes/2 {
			return fmt.Errorf("%w: %d bytes are pinned", ErrPinned, s.pinned.Load())
		}
		s.pinned.Add(taken)
		e.state |= pinnedBit
		return nil
	})
}

// Unpin ends what Pin began.
func (s *Store) Unpin(space uint32, key []byte) (bool, error) {
	return s.change(space, key, func(e *entry) error {
		if e.pinned() {
			s.pinned.Add(-blob.TakenBytes(e.length))
			e.state &^= pinnedBit
		}
		return nil
	})
}

// change has f change the entry of a key, and notes it in the journal.
func (s *Store) change(space uint32, key []byte, f func(*entry) error) (bool, error) {
	if err := s.enterChange(); err != nil {
		return false, err
	}
	defer s.exit()
	o, err := s.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	e, ref := s.look(t, hash)
	if e == nil {
		t.mu.Unlock()
		return false, nil
	}
	if err := f(e); err != nil {
		t.mu.Unlock()
		return false, err
	}
	content := changeContent(s.segmentOf(ref), e)
	t.mu.Unlock()
	if err := s.catalog.append(frameChange, content); err != nil {
		return true, s.failed("note a change", err)
	}
	return true, nil
}

func changeContent(g *segment, e *entry) []byte {
	b := le.AppendUint32(placeContent(g, e.page), e.expires)
	return le.AppendUint32(b, e.state&pinnedBit)
}

// DropNamespace removes all keys of a namespace, whatever their salt, durably, and returns how many there were.
func (s *Store) DropNamespace(namespace string) (int64, error) {
	if err := s.enterChange(); err != nil {
		return 0, err
	}
	defer s.exit()
	of := map[uint32]bool{}
	for _, o := range s.owners.all() {
		if o.namespace == namespace {
			of[o.number] = true
		}
	}
	var dropped int64
	for _, g := range s.allSegments() {
		dropped += s.dropOwners(g, of)
	}
	if err := s.noteDropped(namespace); err != nil {
		return dropped, s.failed("drop a namespace", err)
	}
	return dropped, nil
}

func (s *Store) dropOwners(g *segment, of map[uint32]bool) (dropped int64) {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	for i := range g.entryCount() {
		e := g.entries.at(i)
		t := s.index.shard(e.hash)
		t.mu.Lock()
		if e.live() && of[e.owner()] {
			s.dropLocked(t, g, e)
			dropped++
		}
		t.mu.Unlock()
	}
	return dropped
}

// noteDropped makes sure that no block of a namespace that was written up to now is found again.
func (s *Store) noteDropped(namespace string) error {
	s.checkpointing.Lock()
	if s.identity.Dropped == nil {
		s.identity.Dropped = map[string]uint64{}
	}
	s.identity.Dropped[namespace] = s.sequence.Load()
	err := s.saveIdentity()
	s.checkpointing.Unlock()
	return errors.Join(err, s.checkpoint(false))
}
