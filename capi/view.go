package main

import (
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

// #include "shim.h"
import "C"

//export persistingViewOpenGo
func persistingViewOpenGo(id C.persisting_bucket, version C.uint64_t, out *C.persisting_view, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		view, err := b.At(uint64(version))
		if err != nil {
			return err
		}
		*out = C.persisting_view(handles.add(kindView, view))
		return nil
	}, arg("out_view", out))
}

func onView(id C.persisting_view, e *C.struct_persisting_error, half func(*table.View) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindView, uint64(id), half)
	})
}

//export persistingViewSchemaGo
func persistingViewSchemaGo(id C.persisting_view, out *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error {
		exportSchema(v.Schema(), out)
		return nil
	}, arg("out_schema", out))
}

//export persistingViewRowsGo
func persistingViewRowsGo(id C.persisting_view, outRows, outEnd *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error {
		rows, end := v.Rows()
		*outRows, *outEnd = C.int64_t(rows), C.int64_t(end)
		return nil
	}, arg("out_rows", outRows), arg("out_end", outEnd))
}

//export persistingViewReadGo
func persistingViewReadGo(id C.persisting_view, offset, count C.int64_t, flags C.uint32_t, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error {
		if err := checkRange(offset, count); err != nil {
			return err
		}
		if err := checkFlags(flags, C.PERSISTING_RUN); err != nil {
			return err
		}
		c, err := v.Read(int64(offset), int64(count), flags&C.PERSISTING_RUN != 0)
		if err == nil {
			*out = C.persisting_cursor(handles.add(kindCursor, c))
		}
		return err
	}, arg("out_cursor", out))
}

//export persistingViewCloseGo
func persistingViewCloseGo(id C.persisting_view, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindView, uint64(id), (*table.View).Close) })
}
