package blob

import (
	"hash/crc32"
	"runtime"
)

// Checksum is that of payloads.
func Checksum(pieces [][]byte) uint32 { return extendAll(0, pieces) }

// extendAll is extend for memory in pieces.
func extendAll(sum uint32, pieces [][]byte) uint32 {
	for _, p := range pieces {
		sum = extend(sum, p)
	}
	return sum
}

// nearBytes is how much is fetched and then summed, four times what crc32 takes at once in three places.
const nearBytes = 4 * 4032

// extend sums what memory far from the processor holds: copies of the kernel pass by the caches, and the three places at which
// crc32 reads at once are too short for the processor to read ahead. Blocks of 1.5 MiB on two threads: 10.1 GB/s and not 7.3,
// and with the read of each from the page cache 6.4 and not 4.9.
func extend(sum uint32, p []byte) uint32 {
	for len(p) > 0 {
		near := p[:min(len(p), nearBytes)]
		runtime.KeepAlive(fetch(near)) // else the compiler leaves it out
		sum = crc32.Update(sum, castagnoli, near)
		p = p[len(near):]
	}
	return sum
}

// fetch brings memory into the cache, from the front to the back as the processor expects it. What it returns is of no use.
func fetch(p []byte) (all byte) {
	const line = 64
	for ; len(p) >= 8*line; p = p[8*line:] {
		all ^= p[0] ^ p[line] ^ p[2*line] ^ p[3*line] ^ p[4*line] ^ p[5*line] ^ p[6*line] ^ p[7*line]
	}
	return all
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
