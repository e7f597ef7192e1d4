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

// mostReads is up to where reads are counted. Three is enough to tell a block that is read from one that was; lfu wants to tell
// more from less, and counts as far as there are bits.
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
