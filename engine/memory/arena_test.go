package memory

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestSlabsKeepBytesApart allocates, grows, shrinks and frees in any order, and
// sees that nobody writes where another does and that all of it goes back.
func TestArenaKeepsBytesApart(t *testing.T) {
	s := NewArena()
	rng := rand.New(rand.NewPCG(1, 2))
	fill := func(b []byte, with byte) {
		for i := range b {
			b[i] = with
		}
	}
	var held [][]byte
	var marks []byte
	for i := range 5000 {
		mark := byte(1 + i%255)
		switch at := rng.IntN(len(held) + 1); {
		case at == len(held) || len(held) < 20:
			size := rng.IntN(1 << rng.IntN(20))
			b := s.Allocate(size)
			if len(b) != size || len(bytes.Trim(b, "\x00")) > 0 {
				t.Fatalf("%d bytes are not %d zeros", len(b), size)
			}
			fill(b, mark)
			held, marks = append(held, b), append(marks, mark)
		case i%2 == 0 && len(held) < 200:
			size := rng.IntN(1 << 17)
			old := len(held[at])
			b := s.Reallocate(size, held[at])
			fill(b[min(old, size):], marks[at])
			held[at] = b
		default:
			for _, v := range held[at] {
				if v != marks[at] {
					t.Fatalf("a byte is %d, want %d", v, marks[at])
				}
			}
			s.Free(held[at])
			last := len(held) - 1
			held[at], marks[at] = held[last], marks[last]
			held, marks = held[:last], marks[:last]
		}
	}
	for _, b := range held {
		s.Free(b)
	}
	if n := s.AllocatedBytes(); n != 0 || len(s.single) > 0 || len(s.shared) > 1 || len(s.kept) > slabsKept {
		t.Errorf("%d bytes in %d and %d slabs, %d kept, after all were freed", n, len(s.single), len(s.shared), len(s.kept))
	}
}
