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

//export persistingAbiVersionGo
func persistingAbiVersionGo(out *C.uint32_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_version", out)); err != nil {
			return err
		}
		*out = C.PERSISTING_ABI_VERSION
		return nil
	})
}

//export persistingVersionGo
func persistingVersionGo(out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_version", out)); err != nil {
			return err
		}
		*out = C.CString(version)
		return nil
	})
}

//export persistingStringFreeGo
func persistingStringFreeGo(s *C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		C.free(unsafe.Pointer(s))
		return nil
	})
}

// budget is the memory of all open buckets.
var budget = memory.NewBudget()

//export persistingLibrarySetMemoryBudgetGo
func persistingLibrarySetMemoryBudgetGo(bytes C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return budget.SetLimit(int64(bytes)) })
}

//export persistingLibraryUsageGo
func persistingLibraryUsageGo(out *C.struct_persisting_usage, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_usage", out)); err != nil {
			return err
		}
		out.handles = C.int64_t(handles.live())
		out.allocated_bytes = C.int64_t(memory.Allocator.AllocatedBytes())
		return nil
	})
}
