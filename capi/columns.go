package main

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
	"github.com/persisting/persisting/engine/batch"
)

// #include "shim.h"
import "C"

//export persistingColumnsImportGo
func persistingColumnsImportGo(s *C.struct_ArrowSchema, out *C.persisting_columns, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_schema(s)
	return guard(e, func() error {
		if err := need(arg("schema", s), arg("out_columns", out)); err != nil {
			return err
		}
		columns, err := importColumns(s)
		if err != nil {
			return err
		}
		schema, err := batch.NewMessageSchema(columns)
		if err != nil {
			return err
		}
		*out = C.persisting_columns(handles.add(kindColumns, schema))
		return nil
	})
}

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
	all := zonesOf(s)
	columns, err = cdata.ImportCArrowSchema(cdata.SchemaFromPtr(uintptr(unsafe.Pointer(s))))
	if err != nil {
		return nil, fmt.Errorf("%w: import schema: %w", errArgument, err)
	}
	meta := columns.Metadata()
	return arrow.NewSchema(restore(columns.Fields(), all.children), &meta), nil
}

//export persistingColumnsCloseGo
func persistingColumnsCloseGo(id C.persisting_columns, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		return shut(kindColumns, uint64(id), func(*batch.MessageSchema) error { return nil })
	})
}

func exportSchema(schema *arrow.Schema, out *C.struct_ArrowSchema) {
	if schema == nil {
		schema = arrow.NewSchema(nil, nil)
	}
	*out = C.struct_ArrowSchema{}
	cdata.ExportArrowSchema(schema, cdata.SchemaFromPtr(uintptr(unsafe.Pointer(out))))
}
