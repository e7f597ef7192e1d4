package main

import (
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/table"
)

// #include "shim.h"
import "C"

//export persistingDirectoryVerifyGo
func persistingDirectoryVerifyGo(directory *C.char, flags C.uint32_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return describe(directory, flags, C.PERSISTING_QUICK, out, e, func(dir string) (any, error) {
		return inspect.Examine(dir, inspect.ExamineOptions{ReadRows: flags&C.PERSISTING_QUICK == 0})
	})
}

//export persistingDirectoryInspectGo
func persistingDirectoryInspectGo(directory *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return describe(directory, 0, 0, out, e, func(dir string) (any, error) {
		return inspect.Examine(dir, inspect.ExamineOptions{Layout: true})
	})
}

//export persistingDirectoryRepairGo
func persistingDirectoryRepairGo(directory *C.char, flags C.uint32_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return describe(directory, flags, C.PERSISTING_APPLY, out, e, func(dir string) (any, error) {
		return inspect.Repair(dir, flags&C.PERSISTING_APPLY != 0, bucket.Salvage)
	})
}

//export persistingDirectoryReadGo
func persistingDirectoryReadGo(path *C.char, out *C.persisting_cursor, outRows *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("table", path), arg("out_cursor", out), arg("out_rows", outRows)); err != nil {
			return err
		}
		c, rows, err := table.ReadForeign(C.GoString(path))
		if err != nil {
			return err
		}
		*out, *outRows = C.persisting_cursor(handles.add(kindCursor, c)), C.int64_t(rows)
		return nil
	})
}

// describe hands out, as JSON, what f finds in a directory.
func describe(directory *C.char, flags, known C.uint32_t, out **C.char, e *C.struct_persisting_error, f func(string) (any, error)) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("directory", directory), arg("out_json", out)); err != nil {
			return err
		}
		if unknown := flags &^ known; unknown != 0 {
			return fmt.Errorf("%w: unknown flags %#x", errArgument, uint32(unknown))
		}
		dir := C.GoString(directory)
		if dir == "" {
			return fmt.Errorf("%w: directory is empty", errArgument)
		}
		var found any
		err := contained(func() (err error) {
			found, err = f(dir)
			return err
		})
		if err != nil {
			return err
		}
		text, err := json.Marshal(found)
		if err != nil {
			return fmt.Errorf("%w: write what was found: %w", errInternal, err)
		}
		*out = C.CString(string(text))
		return nil
	})
}
