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

var (
	cursorClose   = (*table.Cursor).Close
	cursorOffsets = succeeds((*table.Cursor).Offsets)
)

func cursorSchema(c *table.Cursor) (*arrow.Schema, error) {
	schema, _ := c.Schema()
	return schema, nil
}

func cursorNext(c *table.Cursor, out *C.struct_ArrowArray) error {
	rec, err := c.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	exportRecord(rec, out)
	return nil
}

// exportRecord takes over a reference to rec. Without a record it gives out an array
// that is released.
func exportRecord(rec arrow.Record, out *C.struct_ArrowArray) {
	*out = C.struct_ArrowArray{}
	if rec == nil {
		return
	}
	// arrow/go exports a slice of a struct with its offset, and again with fields that begin there.
	whole := lance.Exportable(rec)
	rec.Release()
	defer whole.Release()
	cdata.ExportArrowRecordBatch(whole, cdata.ArrayFromPtr(uintptr(unsafe.Pointer(out))), nil)
}
