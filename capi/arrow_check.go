package main

// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// checkArray returns an error unless the struct a can be an array of type t with
// at least rows rows, as far as that can be seen without reading values. The
// importer of arrow v17 frees memory that is not its own when it meets less.
func checkArray(t arrow.DataType, a *C.struct_ArrowArray, rows int64, path string) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: array of %q: %s", errArgument, path, fmt.Sprintf(format, args...))
	}
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	buffers, children, offsets := layout(t)
	switch {
	case buffers < 0:
		return &engine.SchemaError{Column: path, Reason: fmt.Sprintf("has the type %s, which cannot be stored", t)}
	case a == nil:
		return fault("is NULL")
	case a.length < 0 || a.offset < 0 || a.offset > math.MaxInt64/64-a.length:
		return fault("length %d and offset %d", a.length, a.offset)
	case int64(a.length) < rows:
		return fault("length %d, want at least %d", a.length, rows)
	case a.n_buffers != C.int64_t(buffers) || a.n_buffers > 0 && a.buffers == nil:
		return fault("%d buffers, %s has %d", a.n_buffers, t, buffers)
	case a.n_children != C.int64_t(len(children)) || a.n_children > 0 && a.children == nil:
		return fault("%d children, %s has %d", a.n_children, t, len(children))
	}
	// Addresses that are none, as Rust writes them for what is empty, must not be seen by Go's
	// collector.
	lance.Repoint(unsafe.Pointer(&a.buffers), 1)
	lance.Repoint(unsafe.Pointer(&a.children), 1)
	lance.Repoint(unsafe.Pointer(a.buffers), buffers)
	// The bound above keeps this sum, and 64 times it, in 63 bits.
	end := int64(a.offset + a.length)
	pointers := unsafe.Slice(a.buffers, buffers)
	if buffers > 0 && a.null_count > 0 && pointers[0] == nil {
		return fault("%d nulls and no validity bitmap", a.null_count)
	}
	if buffers > 1 && pointers[1] == nil && end+int64(offsets) > 0 {
		return fault("buffer 1 is NULL")
	}
	// How many values the children must have. The importer believes offsets, so they are read here, and
	// they alone: other values can be anything.
	values := end
	switch offsets {
	case 4:
		values = lastOffset(unsafe.Slice((*int32)(pointers[1]), end+1)[a.offset:])
	case 8:
		values = lastOffset(unsafe.Slice((*int64)(pointers[1]), end+1)[a.offset:])
	}
	if values < 0 {
		return fault("its offsets are negative or descend")
	}
	if buffers > 2 && values > 0 && pointers[2] == nil {
		return fault("buffer 2 is NULL")
	}
	if l, ok := t.(*arrow.FixedSizeListType); ok {
		values *= int64(l.Len())
	}
	for i, f := range children {
		// With as many values as the parent's offsets reach to, whatever its own length is.
		child := unsafe.Slice(a.children, len(children))[i]
		name := f.Name
		if path != "" {
			name = path + "." + name
		}
		if err := checkArray(f.Type, child, values, name); err != nil {
			return err
		}
	}
	return nil
}

// layout returns the number of buffers of an array of type t, its children, and
// the size of an offset, 0 if it has none. buffers is -1 for a type that no
// bucket holds.
func layout(t arrow.DataType) (buffers int, children []arrow.Field, offsets int) {
	switch t := t.(type) {
	case *arrow.NullType:
		return 0, nil, 0
	case *arrow.StringType, *arrow.BinaryType:
		return 3, nil, 4
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		return 3, nil, 8
	case *arrow.ListType:
		return 2, t.Fields(), 4
	case *arrow.MapType:
		return 2, t.Fields(), 4
	case *arrow.LargeListType:
		return 2, t.Fields(), 8
	case *arrow.FixedSizeListType:
		return 1, t.Fields(), 0
	case *arrow.StructType:
		return 1, t.Fields(), 0
	case *arrow.DictionaryType: // before those of a fixed width, which its indices have
		return -1, nil, 0
	case arrow.FixedWidthDataType:
		return 2, nil, 0
	}
	return -1, nil, 0
}

// lastOffset returns the last of offsets, or -1 when they are negative or
// descend.
func lastOffset[T int32 | int64](offsets []T) int64 {
	var last T
	for _, o := range offsets {
		if o < last {
			return -1
		}
		last = o
	}
	return int64(last)
}
