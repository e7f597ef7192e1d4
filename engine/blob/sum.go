package blob

import "hash/crc32"

// Checksum is that of payloads.
func Checksum(pieces [][]byte) uint32 { return extend(0, pieces) }

func extend(sum uint32, pieces [][]byte) uint32 {
	for _, p := range pieces {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// joined is the checksum of what has the checksum sum with what has the checksum next, and so many bytes, behind it. Checksums
// are polynomials over two elements, in which bytes that follow are a factor of x^8 each: parts of a payload are summed on
// several processors, and what their places make of the sums is put in afterwards.
func joined(sum, next uint32, bytes int64) uint32 {
	for power := uint32(1 << 23); bytes > 0; bytes >>= 1 { // x^8, x^16, x^32, ...
		if bytes&1 != 0 {
			sum = product(sum, power)
		}
		power = product(power, power)
	}
	return sum ^ next
}

// product is that of two polynomials modulo Castagnoli's. The highest bit is that of x^0, as in all checksums of this kind.
func product(a, b uint32) (c uint32) {
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			c ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return c
}
