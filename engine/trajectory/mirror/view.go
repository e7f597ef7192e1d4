package mirror

// #include "gather.h"
import "C"

import (
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
)

// Zero is the number of a row that is no row: all of it is zero.
const Zero = -1

// View is rows that stay where they are until it is closed.
type View struct {
	m         *Mirror
	addresses []C.uint64_t
	packed    []byte // those that the mirror lacked
}

// Target is where values of a field go, side by side: memory outside of Go.
type Target struct {
	Field int
	Into  uint64
}

// Reader reads rows that a mirror lacks, and gives them to add in their order.
type Reader func(rows []int64, add func(columns []Column, count int)) error

// View returns rows by their numbers. Those that the mirror lacks are read, all at once.
func (m *Mirror) View(rows []int64, read Reader) (*View, error) {
	v := &View{m: m, addresses: make([]C.uint64_t, len(rows))}
	m.mu.RLock()
	if m.zeros == nil {
		m.mu.RUnlock()
		return nil, engine.ErrClosed
	}
	if missing := m.locate(rows, v.addresses); len(missing) > 0 {
		if err := v.read(rows, missing, read); err != nil {
			v.Close()
			return nil, err
		}
	}
	return v, nil
}

// locate says where rows are, and returns the places of those that are nowhere.
func (m *Mirror) locate(rows []int64, addresses []C.uint64_t) (missing []int) {
	zero, within := addressOf(m.zeros), int64(1)<<m.layout.bits-1
	for i, row := range rows {
		if row == Zero {
			addresses[i] = zero
			continue
		}
		n, at := row>>m.layout.bits, row&within
		if n >= int64(len(m.segments)) || m.segments[n] == nil || at >= m.segments[n].rows.Load() {
			missing = append(missing, i)
			continue
		}
		addresses[i] = addressOf(m.segments[n].memory) + C.uint64_t(headerBytes+at*m.layout.stride)
	}
	return missing
}

func addressOf(b []byte) C.uint64_t {
	return C.uint64_t(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// read reads the rows of some places.
func (v *View) read(rows []int64, missing []int, read Reader) error {
	l := &v.m.layout
	wanted := make([]int64, len(missing))
	for k, i := range missing {
		wanted[k] = rows[i]
	}
	v.packed = memory.Allocator.Allocate(int(l.stride) * len(missing))
	rest := v.packed
	err := read(wanted, func(columns []Column, count int) {
		l.pack(columns, 0, count, rest)
		rest = rest[int64(count)*l.stride:]
	})
	for k, i := range missing {
		v.addresses[i] = addressOf(v.packed) + C.uint64_t(int64(k)*l.stride)
	}
	return err
}

// Gather copies fields of the rows from one to another.
func (v *View) Gather(from, to int, targets []Target) {
	if from == to || len(targets) == 0 {
		return
	}
	l := &v.m.layout
	copied := make([]C.struct_mirror_target, len(targets))
	for i, t := range targets {
		copied[i] = C.struct_mirror_target{
			into: C.uint64_t(t.Into), offset: C.int64_t(l.places[t.Field]), width: C.int64_t(l.fields[t.Field].Width),
		}
	}
	C.mirror_gather(&v.addresses[from], C.int64_t(to-from), C.int64_t(l.size), &copied[0], C.int64_t(len(copied)))
}

// Read is how many rows there are, and how many of them the mirror lacked.
func (v *View) Read() (rows, missing int64) {
	return int64(len(v.addresses)), int64(len(v.packed)) / v.m.layout.stride
}

// Null says whether a field of the i-th row has no value.
func (v *View) Null(i, field int) bool {
	address := v.addresses[i]
	row := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	return unsafe.Slice((*byte)(row), v.m.layout.size)[field/8]>>(field%8)&1 == 1
}

// Close lets go of the rows.
func (v *View) Close() {
	memory.Allocator.Free(v.packed)
	v.m.mu.RUnlock()
}
