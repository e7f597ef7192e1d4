package main

import (
	"runtime/cgo"
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/bucket"
)

// #include <stdlib.h>
// #include "shim.h"
import "C"

// exportRows takes over the record of rows and gives out those rows of it. What
// arrow/go does for each array (pieces of memory, a handle, a call back) is done
// once for all, and no column is sliced: a get of one row would spend most of its
// time with that.
func exportRows(rows bucket.Rows, out *C.struct_ArrowArray) {
	rec := rows.Record
	if rec != nil && slices.ContainsFunc(rec.Columns(), func(c arrow.Array) bool { return !isPlain(c.Data()) }) {
		part := rec.NewSlice(rows.From, rows.To)
		rec.Release()
		exportRecord(part, out)
		return
	}
	*out = C.struct_ArrowArray{}
	if rec == nil {
		return
	}
	// Whole columns, with the place of the rows in the struct around them.
	columns := make([]arrow.ArrayData, rec.NumCols())
	for i, c := range rec.Columns() {
		columns[i] = c.Data()
	}
	// Counted first, so that one piece of memory has all: arrays, their pointers, and what releases
	// them.
	arrays, pointers := sizes(columns)
	pointers++
	const header, array, pointer = C.sizeof_struct_shim_batch, C.sizeof_struct_ArrowArray, C.sizeof_uintptr_t
	block := C.calloc(1, C.size_t(header+arrays*array+pointers*pointer))
	x := shared{
		batch:    (*C.struct_shim_batch)(block),
		arrays:   unsafe.Slice((*C.struct_ArrowArray)(unsafe.Add(block, header)), arrays),
		pointers: unsafe.Slice((*unsafe.Pointer)(unsafe.Add(block, header+arrays*array)), pointers),
	}
	x.batch.arrays = C.int64_t(1 + arrays)
	// The record stays referred to until the last array is released: its buffers are lent, not
	// copied.
	x.batch.record = C.uintptr_t(cgo.NewHandle(rec))
	x.fill(out, rows.From, rows.To-rows.From, nil, columns)
}

// isPlain says whether an array is no more than its buffers and its children.
func isPlain(data arrow.ArrayData) bool {
	switch data.DataType().ID() {
	case arrow.NULL, arrow.DICTIONARY, arrow.EXTENSION, arrow.STRING_VIEW, arrow.BINARY_VIEW,
		arrow.RUN_END_ENCODED, arrow.SPARSE_UNION, arrow.DENSE_UNION:
		return false
	}
	return !slices.ContainsFunc(data.Children(), func(c arrow.ArrayData) bool { return !isPlain(c) })
}

// sizes counts the arrays below one with these children, and the pointers to them
// and to their buffers.
func sizes(children []arrow.ArrayData) (arrays, pointers int) {
	for _, c := range children {
		a, p := sizes(c.Children())
		arrays += 1 + a
		pointers += 1 + len(c.Buffers()) + p
	}
	return arrays, pointers
}

// shared is the memory of one batch: what is not given out yet.
type shared struct {
	batch    *C.struct_shim_batch
	arrays   []C.struct_ArrowArray
	pointers []unsafe.Pointer
}

// fill makes an array; without data it has all of its rows.
func (x *shared) fill(out *C.struct_ArrowArray, offset, length int64, data arrow.ArrayData, children []arrow.ArrayData) {
	out.offset, out.length = C.int64_t(offset), C.int64_t(length)
	n := 1
	if data != nil {
		out.null_count = C.int64_t(data.NullN())
		n = len(data.Buffers())
	}
	buffers := x.take(n)
	if data != nil {
		for i, b := range data.Buffers() {
			switch {
			case b != nil && b.Len() > 0:
				buffers[i] = unsafe.Pointer(&b.Bytes()[0])
			case i > 0: // of no bytes, which some readers want to see
				buffers[i] = unsafe.Pointer(&C.shim_nothing)
			}
		}
	}
	out.n_buffers, out.buffers = C.int64_t(n), &buffers[0]
	if len(children) > 0 {
		places := x.take(len(children))
		for i, c := range children {
			child := &x.arrays[0]
			x.arrays = x.arrays[1:]
			places[i] = unsafe.Pointer(child)
			x.fill(child, int64(c.Offset()), int64(c.Len()), c, c.Children())
		}
		out.n_children = C.int64_t(len(children))
		out.children = (**C.struct_ArrowArray)(unsafe.Pointer(&places[0]))
	}
	// The same for all arrays of the batch. A consumer may take one out and release the rest, so
	// the piece of memory counts them.
	out.private_data = unsafe.Pointer(x.batch)
	out.release = (*[0]byte)(C.shim_release_shared)
}

func (x *shared) take(n int) []unsafe.Pointer {
	taken := x.pointers[:n]
	x.pointers = x.pointers[n:]
	return taken
}

//export persistingRecordReleaseGo
func persistingRecordReleaseGo(record C.uintptr_t) C.persisting_status {
	return guard(nil, func() error {
		h := cgo.Handle(record)
		h.Value().(arrow.Record).Release()
		h.Delete()
		return nil
	})
}
