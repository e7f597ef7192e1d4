package delta

import "unsafe"

// element are the bits of a number, signed those of an integer that is as wide, which leaves its sign when it is shifted away.
type element interface {
	uint8 | uint16 | uint32 | uint64
}

type signed interface {
	int8 | int16 | int32 | int64
}

// widths are the bytes of the elements of floating-point dtypes, by their tags.
var widths = map[string]int{"BF16": 2, "F16": 2, "F32": 4, "F64": 8}

// Width is how many bytes an element of a dtype has, of length bytes in all. It is 1 for what has no order that is known.
func Width(dtype string, length int64) int {
	if w, ok := widths[dtype]; ok && length%int64(w) == 0 {
		return w
	}
	return 1
}

// viewOf is a block as elements. An address that is no multiple of their size is allowed to what has no pointers in it.
func viewOf[T element](block []byte) []T {
	if len(block) < size[T]() {
		return nil // a pointer to an element would reach beyond the block
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(block))), len(block)/size[T]())
}

// bytesOf is the opposite.
func bytesOf[T element](view []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(view))), len(view)*size[T]())
}

func size[T element]() int { return int(unsafe.Sizeof(T(0))) }

// ordered puts bits in the order of the floats that they are: the sign is flipped, and of negative ones all other bits as well.
func ordered[T element, S signed](bits T) T {
	return bits ^ (T(S(bits)>>(8*unsafe.Sizeof(bits)-1)) | ^(^T(0) >> 1))
}

// unordered is the opposite.
func unordered[T element, S signed](order T) T {
	return order ^ (^T(S(order)>>(8*unsafe.Sizeof(order)-1)) | ^(^T(0) >> 1))
}
