package memory

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	slabBytes = 256 << 10
	// slabPart is the largest part of a slab; what is larger is one by itself.
	slabPart = slabBytes / 4
	// slabsKept are empty slabs that the next batches get.
	slabsKept = 64
	// slabAlign is that of Arrow's buffers.
	slabAlign = 64
)

// Allocator gives the memory of all batches that the engine makes.
var Allocator = NewArena()

// Arena is an Arrow allocator of memory outside the Go heap, which may be handed
// over the C boundary. Batches go in about the order in which they came, so
// neighbours share a slab, which goes back to the system when the last of them is
// freed. In the heap of C, what lies among them and stays would keep their memory.
type Arena struct {
	allocated atomic.Int64

	mu     sync.Mutex
	newest *slab
	shared map[uintptr]*slab // by address in units of slabBytes: no two begin in one
	single map[uintptr]*slab // by address
	kept   []*slab
}

type slab struct {
	memory []byte
	used   int // bytes, from the start
	parts  int // that are not freed
}

// NewArena returns an arena that holds nothing.
func NewArena() *Arena {
	return &Arena{shared: map[uintptr]*slab{}, single: map[uintptr]*slab{}}
}

// AllocatedBytes is the size of what is not freed.
func (s *Arena) AllocatedBytes() int64 { return s.allocated.Load() }

// Allocate returns memory that is zero. It panics where the system has none.
func (s *Arena) Allocate(size int) []byte {
	s.allocated.Add(int64(size))
	// One at least, so that no two addresses are the same: Free knows a part by its address alone.
	taken := (max(size, 1) + slabAlign - 1) / slabAlign * slabAlign
	s.mu.Lock()
	defer s.mu.Unlock()
	if taken > slabPart {
		// Alone, as the rest of a slab that it leaves would lie empty until it goes.
		own := mapSlab(taken)
		s.single[address(own.memory)] = own
		return own.memory[:size]
	}
	if s.newest == nil || s.newest.used+taken > slabBytes {
		s.open()
	}
	n := s.newest
	part := n.memory[n.used:][:size:taken]
	n.used += taken
	n.parts++
	return part
}

// open begins another slab.
func (s *Arena) open() {
	// The newest is not retired when it gets empty, as the next batch goes there. Now it is no
	// longer that.
	if old := s.newest; old != nil && old.parts == 0 {
		s.retire(old)
	}
	if last := len(s.kept) - 1; last >= 0 {
		s.newest, s.kept = s.kept[last], s.kept[:last]
		// What the system gives is zero; what was used before is not, and Allocate promises zeros.
		clear(s.newest.memory)
	} else {
		s.newest = mapSlab(slabBytes)
	}
	s.shared[address(s.newest.memory)/slabBytes] = s.newest
}

// Free takes back what Allocate or Reallocate returned, or nil.
func (s *Arena) Free(b []byte) {
	if b == nil {
		return
	}
	s.allocated.Add(-int64(len(b)))
	at := address(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if own := s.single[at]; own != nil {
		delete(s.single, at)
		own.unmap()
		return
	}
	of := s.shared[at/slabBytes]
	// A slab begins anywhere, so a part is in the one that begins in the same unit, or in the one
	// before.
	if of == nil || address(of.memory) > at {
		of = s.shared[at/slabBytes-1]
	}
	of.parts--
	if of.parts == 0 && of != s.newest {
		s.retire(of)
	}
}

// retire keeps an empty slab, or gives it back to the system.
func (s *Arena) retire(empty *slab) {
	delete(s.shared, address(empty.memory)/slabBytes)
	if len(s.kept) == slabsKept {
		empty.unmap()
		return
	}
	empty.used = 0
	s.kept = append(s.kept, empty)
}

// Reallocate returns memory that begins with what b holds and ends with zeros, and
// takes b back.
func (s *Arena) Reallocate(size int, b []byte) []byte {
	// Less stays where it is: to move it would take a copy to spare what goes soon anyway.
	if size <= len(b) {
		s.allocated.Add(int64(size - len(b)))
		return b[:size]
	}
	moved := s.Allocate(size)
	copy(moved, b)
	s.Free(b)
	return moved
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func mapSlab(size int) *slab {
	// By itself and not from the heap of C: what is unmapped is the system's again at once.
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		// Arrow's interface has no error to return. A caller that panics breaks its own bucket and
		// no other.
		panic(fmt.Errorf("memory: map %d bytes of memory: %w", size, err))
	}
	return &slab{memory: memory}
}

func (s *slab) unmap() {
	if err := unix.Munmap(s.memory); err != nil {
		panic(fmt.Errorf("memory: unmap memory: %w", err))
	}
}
