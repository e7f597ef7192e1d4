package main

import (
	"unsafe"

	"github.com/persisting/persisting/engine/memory"
)

// #include <stdlib.h>
// #include "shim.h"
import "C"

// release is the version of the library, set by the build.
var release = "0.0.0"

// budget is the memory of all open buckets.
var budget = memory.NewBudget()

var librarySetMemoryBudget = budget.SetLimit

func abiVersion() (uint32, error) { return C.PERSISTING_ABI_VERSION, nil }

func version() (string, error) { return release, nil }

// stringFree frees here what the caller's free might not, which may be of another allocator than that
// of this library.
func stringFree(s *C.char) error {
	C.free(unsafe.Pointer(s))
	return nil
}

func libraryUsage(out *C.struct_persisting_usage) error {
	out.handles = C.int64_t(handles.live())
	out.allocated_bytes = C.int64_t(memory.Allocator.AllocatedBytes())
	return nil
}
