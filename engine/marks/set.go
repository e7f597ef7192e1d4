package marks

import (
	"iter"
	"math/bits"
)

const (
	chunkBits  = 1 << 16
	chunkWords = chunkBits / 64
)

// chunk is the bits of 65,536 offsets in a row; a full one has no words.
type chunk struct {
	words *[chunkWords]uint64
	count int
}

// Set is a set of offsets, for which a run of 65,536 takes 8 KiB, or nothing when all or none of them is in it. The zero value is
// empty.
type Set struct {
	chunks map[int64]*chunk
	count  int64
}

// Len is how many offsets are in the set.
func (s *Set) Len() int64 { return s.count }

// Has says whether an offset is in the set.
func (s *Set) Has(offset int64) bool {
	c := s.chunks[offset/chunkBits]
	if c == nil || c.words == nil {
		return c != nil
	}
	at := offset % chunkBits
	return c.words[at/64]>>(at%64)&1 != 0
}

// Word returns the bits of 64 offsets from offset on, which is a multiple of 64.
func (s *Set) Word(offset int64) uint64 {
	c := s.chunks[offset/chunkBits]
	if c == nil {
		return 0
	}
	if c.words == nil {
		return ^uint64(0)
	}
	return c.words[offset%chunkBits/64]
}

// Add puts the offsets [from, to) into the set.
func (s *Set) Add(from, to int64) { s.change(from, to, true) }

// Remove takes the offsets [from, to) out of the set.
func (s *Set) Remove(from, to int64) { s.change(from, to, false) }

// Beyond says whether there is an offset in the set that is not below from.
func (s *Set) Beyond(from int64) bool {
	for number, c := range s.chunks {
		first := number * chunkBits
		// A chunk that is there has at least one offset.
		if first >= from || (c.words == nil && first+chunkBits > from) {
			return true
		}
		for at := from; at < first+chunkBits; at++ {
			if s.Has(at) {
				return true
			}
		}
	}
	return false
}

// Run says how many offsets from one on, a multiple of 64, are known at once to be in the set, or not to be: 0 where it takes a look
// at the bits.
func (s *Set) Run(offset int64) (rest int64, in bool) {
	c := s.chunks[offset/chunkBits]
	if c != nil && c.words != nil {
		return 0, false
	}
	return chunkBits - offset%chunkBits, c != nil
}

func (s *Set) change(from, to int64, in bool) {
	for from < to {
		number := from / chunkBits
		end := min(to, (number+1)*chunkBits)
		s.changeChunk(number, from%chunkBits, end-number*chunkBits, in)
		from = end
	}
}

// changeChunk changes the bits [from, to) of a chunk.
func (s *Set) changeChunk(number, from, to int64, in bool) {
	c := s.chunks[number]
	full := c != nil && c.words == nil
	// Nothing changes, and no chunk is made or filled for it.
	if in && full || !in && c == nil {
		return
	}
	if c == nil {
		if s.chunks == nil {
			s.chunks = map[int64]*chunk{}
		}
		c = &chunk{words: new([chunkWords]uint64)}
		s.chunks[number] = c
	}
	if c.words == nil {
		c.words = new([chunkWords]uint64)
		for i := range c.words {
			c.words[i] = ^uint64(0)
		}
	}
	before := c.count
	for at := from; at < to; {
		end := min(to, at/64*64+64)
		mask := ^uint64(0) << (at % 64)
		if rest := end % 64; rest != 0 {
			mask &= 1<<rest - 1
		}
		word := &c.words[at/64]
		had := bits.OnesCount64(*word)
		if in {
			*word |= mask
		} else {
			*word &^= mask
		}
		c.count += bits.OnesCount64(*word) - had
		at = end
	}
	s.count += int64(c.count - before)
	// Back to a chunk without words: a task that has consumed all rows up to some place, as most
	// have, takes 8 KiB and not a bit for each row.
	switch c.count {
	case 0:
		delete(s.chunks, number)
	case chunkBits:
		c.words = nil
	}
}

// Ranges yields the runs of offsets [from, to) that are in the set, below end.
func (s *Set) Ranges(end int64) iter.Seq2[int64, int64] {
	return func(yield func(from, to int64) bool) {
		start, inside := int64(0), false
		for at := int64(0); at < end; at += 64 {
			word := s.Word(at)
			switch {
			case word == 0 && !inside:
				if s.chunks[at/chunkBits] == nil {
					at += chunkBits - 64 - at%chunkBits
				}
				continue
			case word == ^uint64(0) && inside:
				continue
			}
			for bit := range int64(64) {
				has := word>>bit&1 != 0 && at+bit < end
				if has == inside {
					continue
				}
				if inside && !yield(start, at+bit) {
					return
				}
				start, inside = at+bit, has
			}
		}
		if inside {
			yield(start, end)
		}
	}
}

// end is the offset behind the last of the set's chunks.
func (s *Set) end() (end int64) {
	for number := range s.chunks {
		end = max(end, (number+1)*chunkBits)
	}
	return end
}
