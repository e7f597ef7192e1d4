package trajectory

import (
	"encoding/binary"
	"math"
)

// spent is how often windows were drawn, by their first rows, for a sampler that draws each so many times at most. The zero value
// counts nothing.
type spent struct {
	times  uint8 // 0 for no bound
	chunks []*spentChunk
	noted  []int64 // rows of draws that may yet be taken back
}

// spentChunk is neighbouring rows, so that a search goes past many at once.
type spentChunk struct {
	drawn [chunkRows]uint8
	over  int // rows that are drawn no more
}

// barred is the count of a row at which no window will ever begin.
const barred = math.MaxUint8

// mostTimes is the highest bound.
const mostTimes = barred - 1

// isOver says that no window is drawn any more that begins at a row.
func (s *spent) isOver(row int64) bool {
	n := row >> chunkBits
	return n < int64(len(s.chunks)) && s.chunks[n] != nil && s.chunks[n].drawn[row&(chunkRows-1)] >= s.times
}

// chunkIsOver says it of all rows of the chunk in which a row is.
func (s *spent) chunkIsOver(row int64) bool {
	n := row >> chunkBits
	return n < int64(len(s.chunks)) && s.chunks[n] != nil && s.chunks[n].over == chunkRows
}

// chunk returns that of a row, with its place there.
func (s *spent) chunk(row int64) (*spentChunk, *uint8) {
	n := row >> chunkBits
	for int64(len(s.chunks)) <= n {
		s.chunks = append(s.chunks, nil)
	}
	if s.chunks[n] == nil {
		s.chunks[n] = new(spentChunk)
	}
	return s.chunks[n], &s.chunks[n].drawn[row&(chunkRows-1)]
}

// add notes that windows were drawn.
func (s *spent) add(drawn []window) {
	if s.times == 0 {
		return
	}
	for _, w := range drawn {
		c, times := s.chunk(w.first)
		if *times++; *times == s.times {
			c.over++
		}
		s.noted = append(s.noted, w.first)
	}
}

// bar notes that no window will ever begin at a row.
func (s *spent) bar(row int64) {
	if s.times == 0 || s.isOver(row) {
		return
	}
	c, times := s.chunk(row)
	*times = barred
	c.over++
}

// keep makes the draws that were noted ones that are not taken back.
func (s *spent) keep() { s.noted = s.noted[:0] }

// takeBack forgets the draws that were noted and not kept, and says whether there were any.
func (s *spent) takeBack() bool {
	any := len(s.noted) > 0
	for _, row := range s.noted {
		c, times := s.chunk(row)
		if *times == s.times {
			c.over--
		}
		*times--
	}
	s.keep()
	return any
}

// text is all that was counted, as runs of the same count: how long each is, and the count.
func (s *spent) text() (out []byte) {
	run, count := uint64(0), uint8(0)
	for _, c := range s.chunks {
		if c == nil {
			c = new(spentChunk)
		}
		for _, times := range c.drawn {
			if times != count {
				out = append(binary.AppendUvarint(out, run), count)
				run, count = 0, times
			}
			run++
		}
	}
	if count > 0 {
		out = append(binary.AppendUvarint(out, run), count)
	}
	return out
}

// parse reads what text gave, of rows below an end; others were lost since.
func (s *spent) parse(text []byte, end int64) error {
	row := int64(0)
	for rest := text; len(rest) > 0; {
		run, n := binary.Uvarint(rest)
		if s.times == 0 || n <= 0 || n == len(rest) {
			return invalid("position: spent is %.40x, which no sampler has", text)
		}
		count := rest[n]
		rest = rest[n+1:]
		for last := row + int64(min(run, uint64(end-row))); row < last; row++ {
			if count == 0 {
				row = last
				break
			}
			c, times := s.chunk(row)
			if *times = count; count >= s.times {
				c.over++
			}
		}
	}
	return nil
}
