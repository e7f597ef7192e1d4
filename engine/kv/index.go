package kv

import (
	"math/bits"
	"sync"
)

// entry is a block that is, or was, in a segment. All fields are guarded by the shard of the hash once it is published.
//
// It is 32 bytes. With 5 bytes in a table that is 68 to 85 per cent full that is 38 to 40 bytes a key, without a pointer.
type entry struct {
	hash    uint64
	page    uint32
	length  uint32
	sum     uint32
	expires uint32 // Unix seconds; 0 is never
	lease   uint32 // tenths of a second since the opening, up to which it may not go
	state   uint32 // owner in the low 24 bits, reads in the next 6, then pinned and live
}

const (
	ownerBits = 24
	ownerMask = 1<<ownerBits - 1
	readsMask = 0x3f << ownerBits
	readsOne  = 1 << ownerBits
	pinnedBit = 1 << 30
	liveBit   = 1 << 31
)

func (e *entry) owner() uint32 { return e.state & ownerMask }
func (e *entry) reads() uint32 { return e.state & readsMask >> ownerBits }
func (e *entry) pinned() bool  { return e.state&pinnedBit != 0 }
func (e *entry) live() bool    { return e.state&liveBit != 0 }

func (e *entry) setReads(n uint32) {
	e.state = e.state&^readsMask | min(n, readsMask>>ownerBits)<<ownerBits
}

// entries are those of one segment, in pieces that double: they never move, and a segment of few blocks has few.
type entries struct {
	pieces [27][]entry
	count  uint32
}

const firstPiece = 32

// place says in which piece the i-th entry is, and where there.
func place(i uint32) (piece int, at uint32) {
	piece = bits.Len32(i/firstPiece+1) - 1
	return piece, i - firstPiece*(1<<piece-1)
}

func (e *entries) at(i uint32) *entry {
	piece, at := place(i)
	return &e.pieces[piece][at]
}

// add makes room for one more; the caller holds the segment's lock.
func (e *entries) add() uint32 {
	piece, _ := place(e.count)
	if e.pieces[piece] == nil {
		e.pieces[piece] = make([]entry, firstPiece<<piece)
	}
	e.count++
	return e.count - 1
}

func (e *entries) clear() { *e = entries{} }

// shardBits many of the hash's highest bits choose the shard.
const (
	shardBits = 8
	shards    = 1 << shardBits
)

// index finds the entry of a hash. A reference is slot * perSegment + number in the segment.
type index struct {
	perSegment uint32
	segments   []*segment // by slot; nil where there is none
	shards     [shards]shard
}

// shard is an open-addressed table of references. A tag of 8 bits beside each spares most looks at entries, which lie elsewhere.
type shard struct {
	mu   sync.Mutex
	tags []uint8 // 0 is free
	refs []uint32
	used int
}

const (
	noRef     = ^uint32(0)
	minTable  = 16
	fullAt    = 0.85
	growsFrom = 0.68
)

func (x *index) shard(hash uint64) *shard { return &x.shards[hash>>(64-shardBits)] }

func tagOf(hash uint64) uint8 { return uint8(hash>>32) | 1 }

func (t *shard) home(hash uint64) int {
	return int(uint64(uint32(hash)) * uint64(len(t.refs)) >> 32)
}

func (x *index) entry(ref uint32) *entry {
	return x.segments[ref/x.perSegment].entries.at(ref % x.perSegment)
}

// find returns where in the table the entry of a hash is, -1 if nowhere. The shard is locked, here and below.
func (x *index) find(t *shard, hash uint64) int {
	if t.used == 0 {
		return -1
	}
	tag := tagOf(hash)
	for i := t.home(hash); t.tags[i] != 0; i++ {
		if t.tags[i] == tag && x.entry(t.refs[i]).hash == hash {
			return i
		}
		if i == len(t.tags)-1 {
			i = -1
		}
	}
	return -1
}

// put has a hash refer to an entry, and returns to which it referred before, noRef if to none.
func (x *index) put(t *shard, hash uint64, ref uint32) (before uint32) {
	if i := x.find(t, hash); i >= 0 {
		before, t.refs[i] = t.refs[i], ref
		return before
	}
	if float64(t.used+1) > fullAt*float64(len(t.refs)) {
		x.grow(t)
	}
	t.place(hash, ref)
	t.used++
	return noRef
}

func (t *shard) place(hash uint64, ref uint32) {
	i := t.home(hash)
	for t.tags[i] != 0 {
		if i++; i == len(t.tags) {
			i = 0
		}
	}
	t.tags[i], t.refs[i] = tagOf(hash), ref
}

func (x *index) grow(t *shard) {
	tags, refs := t.tags, t.refs
	size := max(minTable, int(float64(t.used+1)/growsFrom))
	t.tags, t.refs = make([]uint8, size), make([]uint32, size)
	for i, tag := range tags {
		if tag != 0 {
			t.place(x.entry(refs[i]).hash, refs[i])
		}
	}
}

// remove takes the i-th place of a table away and moves up what stands behind it, so that no marks of removals pile up.
func (x *index) remove(t *shard, i int) {
	n := len(t.tags)
	t.used--
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		if t.tags[j] == 0 {
			break
		}
		home := t.home(x.entry(t.refs[j]).hash)
		if (j-home+n)%n >= (j-i+n)%n {
			t.tags[i], t.refs[i] = t.tags[j], t.refs[j]
			i = j
		}
	}
	t.tags[i], t.refs[i] = 0, 0
}
