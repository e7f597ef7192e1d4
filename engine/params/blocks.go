package params

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/procs"
	"github.com/zeebo/xxh3"
)

const (
	blockBytes = 1 << 20
	// phase is where an object begins behind a multiple of pageBytes, as tensors of torch do in memory.
	phase     = 64
	pageBytes = 4096
	// largeBytes is from when on an object has pages of its own.
	largeBytes = 64 << 10
)

// sum is the checksum of a block, or what identifies an object.
type sum [16]byte

func sumOf(b []byte) sum { return xxh3.Hash128(b).Bytes() }

// blocksIn is the number of blocks of an object.
func blocksIn(length int64) int64 {
	if length == 0 {
		return 0
	}
	return (length + phase + blockBytes - 1) / blockBytes
}

// blockRange is where a block lies in its object. Each but the first begins, and each but the last ends, at a multiple of
// pageBytes in the file.
func blockRange(block, length int64) (from, to int64) {
	return max(0, block*blockBytes-phase), min(length, (block+1)*blockBytes-phase)
}

// sumsOf are the checksums of the blocks of an object.
func sumsOf(data []byte) []sum {
	sums := make([]sum, blocksIn(int64(len(data))))
	for block := range sums {
		from, to := blockRange(int64(block), int64(len(data)))
		sums[block] = sumOf(data[from:to])
	}
	return sums
}

// identify is what objects with the same bytes have in common.
func identify(length int64, blocks []sum) sum {
	all := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(blocks)*len(sum{})), uint64(length))
	for i := range blocks {
		all = append(all, blocks[i][:]...)
	}
	return sumOf(all)
}

// hasher computes the checksums of all blocks of some objects, several at a time and in their order.
type hasher struct {
	data   [][]byte
	begins []int64 // of each object, its first block among all
	sums   []sum
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

// hashAll begins to hash objects.
func hashAll(data [][]byte) *hasher {
	h := &hasher{data: data, begins: make([]int64, len(data)+1)}
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
		n := blocksIn(int64(len(d)))
		h.begins[i+1] = h.begins[i] + n
		if n <= spanBlocks {
			if size += int64(len(d)); size >= spanBlocks*blockBytes {
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
	h.sums = make([]sum, h.begins[len(data)])
	for range min(procs.Cores(), len(h.spans)) {
		go h.work()
	}
	return h
}

func (h *hasher) work() {
	for {
		i := h.next.Add(1) - 1
		if i >= int64(len(h.spans)) {
			return
		}
		h.spans[i].failed = h.hash(&h.spans[i])
		close(h.spans[i].done)
	}
}

func (h *hasher) hash(s *span) (err error) {
	defer engine.Contain(&err)
	for o := s.object; o < s.last; o++ {
		block, end := s.block, s.end
		if end == 0 {
			block, end = 0, h.begins[o+1]-h.begins[o]
		}
		for ; block < end; block++ {
			from, to := blockRange(block, int64(len(h.data[o])))
			h.sums[h.begins[o]+block] = sumOf(h.data[o][from:to])
		}
	}
	return nil
}

// each calls do with the checksums of each object, in their order, when they are there. It waits for all work in any case.
func (h *hasher) each(do func(object int, blocks []sum) error) error {
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
