package kv

import (
	"math/bits"
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

func (e *entry) pinned() bool { return e.state&pinnedBit != 0 }

func (e *entry) live() bool { return e.state&liveBit != 0 }

func (e *entry) setReads(n uint32) {
	e.state = e.state&^readsMask | min(n, readsMask>>ownerBits)<<ownerBits
}

// entries are those of one segment: as many as were expected in one piece, more in pieces that double. So they never move, a
// segment of few blocks has few, and one whose blocks are like those before has no room that it does not need.
type entries struct {
	expected []entry
	pieces   [27][]entry
	count    uint32
}

const firstPiece = 32

// place says in which piece the i-th entry beyond those that were expected is, and where there.
func place(i uint32) (piece int, at uint32) {
	piece = bits.Len32(i/firstPiece+1) - 1
	return piece, i - firstPiece*(1<<piece-1)
}

func (e *entries) at(i uint32) *entry {
	if i < uint32(len(e.expected)) {
		return &e.expected[i]
	}
	piece, at := place(i - uint32(len(e.expected)))
	return &e.pieces[piece][at]
}

// expect makes room for so many before the first.
func (e *entries) expect(n uint32) {
	if e.count == 0 {
		e.expected = make([]entry, n)
	}
}

// add makes room for one more; the caller holds the segment's lock.
func (e *entries) add() uint32 {
	e.count++
	if e.count > uint32(len(e.expected)) {
		piece, _ := place(e.count - 1 - uint32(len(e.expected)))
		if e.pieces[piece] == nil {
			e.pieces[piece] = make([]entry, firstPiece<<piece)
		}
	}
	return e.count - 1
}

func (e *entries) clear() { *e = entries{} }

func (e *entry) expired(now uint32) bool { return e.expires != 0 && e.expires <= now }
