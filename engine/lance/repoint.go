package lance

// #include <stdlib.h>
import "C"

import (
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/cdata"
)

// firstPage is below every address that memory can have.
const firstPage = 4096

// nothing is memory that stays: as many bytes as a buffer of Arrow is aligned to, never written,
// never freed.
var nothing = uintptr(C.calloc(1, 64))

// abiArray is struct ArrowArray.
type abiArray struct {
	length, nullCount, offset, nBuffers, nChildren int64
	buffers                                        unsafe.Pointer
	children                                       **abiArray
	dictionary                                     *abiArray
	release, private                               uintptr
}

// Repoint makes those of n pointers to buffers that dangle point to memory.
// Producers written in Rust let the pointer to an empty buffer dangle at a small
// address, and Go's runtime ends the process when it meets one on a stack.
func Repoint(buffers unsafe.Pointer, n int) {
	addresses := unsafe.Slice((*uintptr)(buffers), n)
	for i, address := range addresses {
		if 0 < address && address < firstPage {
			addresses[i] = nothing
		}
	}
}

// repointAll does so for an array that Rust made, and for its children.
func repointAll(array *cdata.CArrowArray) {
	repointTree((*abiArray)(unsafe.Pointer(array)))
}

func repointTree(a *abiArray) {
	Repoint(unsafe.Pointer(&a.buffers), 1)
	Repoint(unsafe.Pointer(&a.children), 1)
	// After the pointer to them, which may dangle itself where there are none.
	Repoint(a.buffers, int(a.nBuffers))
	for _, child := range unsafe.Slice(a.children, a.nChildren) {
		repointTree(child)
	}
	if a.dictionary != nil {
		repointTree(a.dictionary)
	}
}
