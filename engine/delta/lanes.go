package delta

// A word has four lanes of 16 bits, of which each is an element. What follows does to all of them at once what [ordered] and
// [unordered] do to one, and adds: a plane says something of every element, so there is no passing by.

const (
	tops    = 0x8000_8000_8000_8000
	bottoms = 0x0001_0001_0001_0001
	escapes = 0x8080_8080_8080_8080
)

// hasEscape says whether one of eight differences is [escape].
func hasEscape(ulps uint64) bool {
	zero := ulps ^ escapes // a byte of it is 0 then
	return (zero-0x0101_0101_0101_0101)&^zero&escapes != 0
}

// moved are four elements that move by as many differences, none of which is [escape].
func moved(lanes uint64, ulps uint32) uint64 {
	order := lanes ^ (tops | (lanes&tops)>>15*0x7fff)
	by := uint64(ulps)
	by = (by | by<<16) & 0x0000_ffff_0000_ffff
	by = (by | by<<8) & 0x00ff_00ff_00ff_00ff
	by |= by >> 7 & bottoms * 0xff00 // the signs
	order = (order&^tops + by&^tops) ^ (order^by)&tops
	return order ^ (tops | (^order&tops)>>15*0x7fff)
}
