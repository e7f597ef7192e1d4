package pack

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/procs"
	"github.com/zeebo/xxh3"
)

const (
	// BlockBytes is how much has a checksum of its own.
	BlockBytes = 1 << 20
	// Phase is where an object begins behind a multiple of PageBytes, as tensors of torch do in memory.
	Phase = 64
	// PageBytes is what pages of a file are multiples of.
	PageBytes = 4096
	// LargeBytes is from when on an object has pages of its own.
	LargeBytes = 64 << 10
)

// Sum is the checksum of a block, or what identifies an object.
type Sum [16]byte

// SumOf is the checksum of bytes.
func SumOf(b []byte) Sum { return xxh3.Hash128(b).Bytes() }

// Blocks is the number of blocks of an object.
func Blocks(length int64) int64 {
	if length == 0 {
		return 0
	}
	return (length + Phase + BlockBytes - 1) / BlockBytes
}

// Range is where a block lies in its object. Each but the first begins, and each but the last ends, at a multiple of
// PageBytes in the file.
func Range(block, length int64) (from, to int64) {
	return max(0, block*BlockBytes-Phase), min(length, (block+1)*BlockBytes-Phase)
}

// Sums are the checksums of the blocks of an object.
func Sums(data []byte) []Sum {
	sums := make([]Sum, Blocks(int64(len(data))))
	for block := range sums {
		from, to := Range(int64(block), int64(len(data)))
		sums[block] = SumOf(data[from:to])
	}
	return sums
}

// Identify is what objects with the same bytes have in common.
func Identify(length int64, blocks []Sum) Sum {
	all := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(blocks)*len(Sum{})), uint64(length))
	for i := range blocks {
		all = append(all, blocks[i][:]...)
	}
	return SumOf(all)
}

// Hasher computes the checksums of all blocks of some objects, several at a time and in their order.
type Hasher struct {
	data   [][]byte
	begins []int64 // of each object, its first block among all
	sums   []Sum
	spans  []span
	next   atomic.Int64
}

// span is work for one processor: blocks of neighbours.
type span struct {
	object, last int   // objects
	block, end   int64 // of object, where it is the only one
	done         chan struct{}
	failed       error // once it is done
}

// spanBlocks is how many blocks are hashed in one go.
const spanBlocks = 8

// Hash begins to hash objects.
func Hash(data [][]byte) *Hasher {
	h := &Hasher{data: data, begins: make([]int64, len(data)+1)}
	small := span{}
	size := int64(0)
	cut := func(i int) {
		if small.last = i; small.last > small.object {
			small.done = make(chan struct{})
			h.spans = append(h.spans, small)
		}
		small.object, size = i, 0
	}
	for i, d := range data {
		n := Blocks(int64(len(d)))
		h.begins[i+1] = h.begins[i] + n
		if n <= spanBlocks {
			if size += int64(len(d)); size >= spanBlocks*BlockBytes {
				cut(i + 1)
			}
			continue
		}
		cut(i)
		for b := int64(0); b < n; b += spanBlocks {
			h.spans = append(h.spans, span{object: i, last: i + 1, block: b, end: min(n, b+spanBlocks), done: make(chan struct{})})
		}
		small.object = i + 1
	}
	cut(len(data))
	h.sums = make([]Sum, h.begins[len(data)])
	for range min(procs.Cores(), len(h.spans)) {
		go h.work()
	}
	return h
}

func (h *Hasher) work() {
	for {
		i := h.next.Add(1) - 1
		if i >= int64(len(h.spans)) {
			return
		}
		h.spans[i].failed = h.hash(&h.spans[i])
		close(h.spans[i].done)
	}
}

func (h *Hasher) hash(s *span) (err error) {
	defer engine.Contain(&err)
	for o := s.object; o < s.last; o++ {
		block, end := s.block, s.end
		if end == 0 {
			block, end = 0, h.begins[o+1]-h.begins[o]
		}
		for ; block < end; block++ {
			from, to := Range(block, int64(len(h.data[o])))
			h.sums[h.begins[o]+block] = SumOf(h.data[o][from:to])
		}
	}
	return nil
}

// Each calls do with the checksums of each object, in their order, when they are there. It waits for all work in any case.
func (h *Hasher) Each(do func(object int, blocks []Sum) error) error {
	var failed error
	for i := range h.spans {
		s := &h.spans[i]
		<-s.done
		if failed == nil {
			failed = s.failed
		}
		if s.end != 0 && s.end < h.begins[s.object+1]-h.begins[s.object] {
			continue // there is more of it
		}
		for o := s.object; o < s.last && failed == nil; o++ {
			failed = do(o, h.sums[h.begins[o]:h.begins[o+1]])
		}
	}
	return failed
}
