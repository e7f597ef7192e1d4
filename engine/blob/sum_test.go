package blob

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestJoined(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	payload := make([]byte, 5000)
	for i := range payload {
		payload[i] = byte(chance.Uint32())
	}
	sum := func(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
	for _, at := range []int{0, 1, 2, 7, 8, 255, 256, 4096, 4999, 5000} {
		if got := joined(sum(payload[:at]), sum(payload[at:]), int64(len(payload)-at)); got != sum(payload) {
			t.Errorf("%d and %d bytes: %08x, want %08x", at, len(payload)-at, got, sum(payload))
		}
	}
	long := make([]byte, 3<<20)
	if got := joined(sum(payload), sum(long), int64(len(long))); got != sum(append(payload, long...)) {
		t.Errorf("with 3 MiB behind it: %08x", got)
	}
}
