package kv

import (
	"github.com/persisting/persisting/engine/blob"
)

// policy are the rules of what is worth keeping.
type policy string

// first is the ring that a new block goes to.
func (p policy) first(known bool) int {
	if p == "s3fifo" && !known {
		return small
	}
	return main
}

// mostReads is up to where reads are counted, as far as there are bits: where not all that was read can stay, what was read most
// does.
const mostReads = readsMask >> ownerBits

// worth says whether a block that nothing else protects is kept, with which rank, and sets what its count of reads is then.
func (p policy) worth(c *candidate) bool {
	reads := c.entry.reads()
	c.rank = reads
	switch p {
	case "fifo":
		return false
	case "lru":
		c.rank = 1
		c.entry.setReads(0)
	default:
		c.entry.setReads(reads / 2)
	}
	return reads > 0
}

// candidate is a block of a segment that is emptied.
type candidate struct {
	ref   uint32
	entry entry
	rank  uint32 // how much it is worth
}

func takenBytes(of []candidate) (sum int64) {
	for _, c := range of {
		sum += blob.TakenBytes(c.entry.length)
	}
	return sum
}
