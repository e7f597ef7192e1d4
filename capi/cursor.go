package main

import (
	"errors"
	"io"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// #include "shim.h"
import "C"

//export persistingCursorSchemaGo
func persistingCursorSchemaGo(id C.persisting_cursor, out *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	return onCursor(id, e, func(c *table.Cursor) error {
		schema, _ := c.Schema()
		exportSchema(schema, out)
		return nil
	}, arg("out_schema", out))
}

//export persistingCursorNextGo
func persistingCursorNextGo(id C.persisting_cursor, out *C.struct_ArrowArray, e *C.struct_persisting_error) C.persisting_status {
	return onCursor(id, e, func(c *table.Cursor) error {
		rec, err := c.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		exportRecord(rec, out)
		return nil
	}, arg("out_array", out))
}

// exportRecord takes over a reference to rec. Without a record it gives out an array
// that is released.
func exportRecord(rec arrow.Record, out *C.struct_ArrowArray) {
	*out = C.struct_ArrowArray{}
	if rec == nil {
		return
	}
	whole := lance.Exportable(rec)
	rec.Release()
	defer whole.Release()
	cdata.ExportArrowRecordBatch(whole, cdata.ArrayFromPtr(uintptr(unsafe.Pointer(out))), nil)
}

//export persistingCursorCloseGo
func persistingCursorCloseGo(id C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindCursor, uint64(id), (*table.Cursor).Close) })
}

func onCursor(id C.persisting_cursor, e *C.struct_persisting_error, half func(*table.Cursor) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindCursor, uint64(id), half)
	})
}

//export persistingCursorOffsetsGo
func persistingCursorOffsetsGo(id C.persisting_cursor, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_json", out)); err != nil {
			return err
		}
		return with(kindCursor, uint64(id), func(c *table.Cursor) error { return toJSON(c.Offsets(), out) })
	})
}
