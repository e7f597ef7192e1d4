package main

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
)

// #include "shim.h"
import "C"

// importColumns takes over a schema. A producer's broken struct is the caller's
// fault, so a panic on the way is an error.
func importColumns(s *C.struct_ArrowSchema) (columns *arrow.Schema, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: schema: %v", errArgument, r)
		}
	}()
	if s.release == nil {
		return nil, fmt.Errorf("%w: schema is released already", errArgument)
	}
	// Before the import, which takes the schema over and releases it.
	all := zonesOf(s)
	columns, err = cdata.ImportCArrowSchema(cdata.SchemaFromPtr(uintptr(unsafe.Pointer(s))))
	if err != nil {
		return nil, fmt.Errorf("%w: import schema: %w", errArgument, err)
	}
	meta := columns.Metadata()
	return arrow.NewSchema(restore(columns.Fields(), all.children), &meta), nil
}

// importBatch takes over an array and its schema. A producer's broken struct is
// the caller's fault, so a panic on the way is an error.
func importBatch(a *C.struct_ArrowArray, s *C.struct_ArrowSchema) (rec arrow.Record, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: array and schema do not fit: %v", errArgument, r)
		}
	}()
	if a.release == nil {
		return nil, fmt.Errorf("%w: array is released already", errArgument)
	}
	schema, err := importColumns(s)
	if err != nil {
		return nil, err
	}
	// What the importer does with an array that is not what its schema says cannot be recovered
	// from: it reads beyond buffers.
	if err := checkArray(arrow.StructOf(schema.Fields()...), a, 0, ""); err != nil {
		return nil, err
	}
	rec, err = cdata.ImportCRecordBatchWithSchema(cdata.ArrayFromPtr(uintptr(unsafe.Pointer(a))), schema)
	if err != nil {
		return nil, fmt.Errorf("%w: import batch: %w", errArgument, err)
	}
	return rec, nil
}

func exportSchema(schema *arrow.Schema, out *C.struct_ArrowSchema) {
	if schema == nil {
		schema = arrow.NewSchema(nil, nil)
	}
	*out = C.struct_ArrowSchema{}
	cdata.ExportArrowSchema(schema, cdata.SchemaFromPtr(uintptr(unsafe.Pointer(out))))
}
