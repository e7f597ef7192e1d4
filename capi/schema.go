package main

import (
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

//export persistingColumnsCloseGo
func persistingColumnsCloseGo(id C.persisting_columns, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		return shut(kindColumns, uint64(id), func(*batch.MessageSchema) error { return nil })
	})
}
