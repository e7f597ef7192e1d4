package trajectory

import "math/bits"

// shuffle is an order of the numbers below a bound, of which any one can be computed: a network of Feistel over the next power of
// four, whose numbers that are too large are walked over.
type shuffle struct {
	bound uint64
	half  uint // bits of each half of a number
	keys  [6]uint64
}

func newShuffle(seed, epoch uint64, bound int64) shuffle {
	s := shuffle{bound: uint64(bound), half: max(1, uint(bits.Len64(uint64(bound)-1)+1)/2)}
	for i := range s.keys {
		s.keys[i] = scramble(seed ^ scramble(epoch*uint64(len(s.keys))+uint64(i)+1))
	}
	return s
}

// at returns the i-th number of the order.
func (s *shuffle) at(i int64) int64 {
	for x := uint64(i); ; {
		if x = s.permute(x); x < s.bound {
			return int64(x)
		}
	}
}

func (s *shuffle) permute(x uint64) uint64 {
	mask := uint64(1)<<s.half - 1
	left, right := x>>s.half, x&mask
	for _, key := range s.keys {
		left, right = right, left^scramble(right^key)&mask
	}
	return left<<s.half | right
}

// scramble is the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
