package main

import (
	"unsafe"

	"github.com/persisting/persisting/engine/memory"
)

// #include <stdlib.h>
// #include "shim.h"
import "C"

// version is set by the build.
var version = "0.0.0"

// budget is the memory of all open buckets.
var budget = memory.NewBudget()

var librarySetMemoryBudget = budget.SetLimit

func abiVersion() (uint32, error) { return C.PERSISTING_ABI_VERSION, nil }

//export persistingVersionGo
func persistingVersionGo(out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		*out = C.CString(version)
		return nil
	})
}

//export persistingStringFreeGo
func persistingStringFreeGo(s *C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		// Here and not by the caller's free, which may be of another allocator than that of this
		// library.
		C.free(unsafe.Pointer(s))
		return nil
	})
}

//export persistingLibraryUsageGo
func persistingLibraryUsageGo(out *C.struct_persisting_usage, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		out.handles = C.int64_t(handles.live())
		out.allocated_bytes = C.int64_t(memory.Allocator.AllocatedBytes())
		return nil
	})
}
