package kv

import (
	"sync"
)

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
// Its lock is held for well below a microsecond, so there is none for readers alone, whose counter all of them would write to.
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
	reserved  = 0.78 // by how much shards differ, few of 10^5 keys and more find their table full
)

// reserve makes tables for so many entries, before the first.
func (x *index) reserve(n int) {
	if n < shards*minTable {
		return
	}
	size := int(float64(n) / shards / reserved)
	for i := range x.shards {
		x.shards[i].tags, x.shards[i].refs = make([]uint8, size), make([]uint32, size)
	}
}

func (x *index) shard(hash uint64) *shard { return &x.shards[hash>>(64-shardBits)] }

func tagOf(hash uint64) uint8 { return uint8(hash>>32) | 1 }

// home is where a hash would like to be: the low bits, spread over the table by a multiplication, which needs no power of two as
// its size: tables grow by a fourth and not by two, so that fewer places are empty.
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
	x.add(t, hash, ref)
	return noRef
}

// add is put for a hash that has no entry.
func (x *index) add(t *shard, hash uint64, ref uint32) {
	if float64(t.used+1) > fullAt*float64(len(t.refs)) {
		x.grow(t)
	}
	t.place(hash, ref)
	t.used++
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
