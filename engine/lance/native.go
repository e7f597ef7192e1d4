package lance

/*
#cgo CFLAGS: -I${SRCDIR}/../../native
#cgo LDFLAGS: -Wl,-rpath,$ORIGIN
#include "persisting_native.h"
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
)

// The types of the native library that the calls of it name, in all files.
type (
	tableHandle    = *C.pn_table
	snapshotHandle = *C.pn_snapshot
	readerHandle   = *C.pn_reader
	owned          = C.struct_pn_owned // a text that the library made
	status         = C.int32_t
)

// native calls a function of the native library, which leaves its result in out, or
// the message of an error in e.
func native[T any](op string, call func(out *T, e *owned) status) (T, error) {
	var out, none T
	if err := load(); err != nil {
		return none, err
	}
	var e owned
	if code := call(&out, &e); code != C.PN_OK {
		// A code that this side does not know is one of a library that was built from another
		// source.
		class, ok := classes[int32(code)]
		if !ok {
			class = ErrInternal
		}
		return none, &Error{Op: op, Msg: taken(e), Err: class}
	}
	return out, nil
}

// nativeText calls a function that makes a text.
func nativeText(op string, call func(out, e *owned) status) (string, error) {
	text, err := native(op, call)
	return taken(text), err
}

// nativeNames calls a function that makes a list of names.
func nativeNames(op string, call func(out, e *owned) status) ([]string, error) {
	text, err := nativeText(op, call)
	if err != nil {
		return nil, err
	}
	// Each name ends with a NUL, as paths and columns may have any other byte; so the last piece is
	// empty.
	names := strings.Split(text, "\x00")
	return names[:len(names)-1], nil
}

// nativeSchema calls a function that makes a schema.
func nativeSchema(op string, call func(out *C.struct_ArrowSchema, e *owned) status) (*arrow.Schema, error) {
	made, err := native(op, func(out *cdata.CArrowSchema, e *owned) status {
		return call((*C.struct_ArrowSchema)(unsafe.Pointer(out)), e)
	})
	if err != nil {
		return nil, err
	}
	schema, err := cdata.ImportCArrowSchema(&made)
	if err != nil {
		return nil, fmt.Errorf("%w: schema: %w", ErrInternal, err)
	}
	return schema, nil
}

// nativeRecord calls a function that makes rows of a schema; nil is their end.
func nativeRecord(op string, schema *arrow.Schema, call func(out *C.struct_ArrowArray, e *owned) status) (arrow.Record, error) {
	made, err := native(op, func(out *cdata.CArrowArray, e *owned) status {
		return call((*C.struct_ArrowArray)(unsafe.Pointer(out)), e)
	})
	if err != nil || (*C.struct_ArrowArray)(unsafe.Pointer(&made)).release == nil {
		return nil, err
	}
	// Go may not be given an address that is none, which Rust writes where a buffer is empty.
	repointAll(&made)
	record, err := cdata.ImportCRecordBatchWithSchema(&made, schema)
	if err != nil {
		cdata.ReleaseCArrowArray(&made)
		return nil, fmt.Errorf("%w: batch: %w", ErrInternal, err)
	}
	return record, nil
}

// taken takes a text over.
func taken(text owned) string {
	if text.data == nil {
		return "" // of a call that made none, maybe as there is no library
	}
	// Copied and given back at once, so that no text of the library outlives its call.
	defer C.pn_owned_release(text, nil)
	return C.GoStringN(text.data, C.int(text.n))
}

// cText lends a string for a call.
func cText(s string) C.struct_pn_text {
	return C.struct_pn_text{data: (*C.char)(unsafe.Pointer(unsafe.StringData(s))), n: C.int64_t(len(s))}
}

// cOptional lends a string, or none.
func cOptional(s *string) C.struct_pn_text {
	if s == nil {
		return C.struct_pn_text{n: -1}
	}
	return cText(*s)
}

// cNames lends names, none of which has a NUL in it; without any it lends none.
func cNames(list []string) C.struct_pn_text {
	if len(list) == 0 {
		return C.struct_pn_text{n: -1}
	}
	return cText(strings.Join(list, "\x00") + "\x00")
}

// cIDs lends row ids.
func cIDs(ids []int64) C.struct_pn_ids {
	return C.struct_pn_ids{data: (*C.int64_t)(unsafe.SliceData(ids)), n: C.int64_t(len(ids))}
}

// cNumbers lends a vector; nil is none.
func cNumbers(vector []float64) C.struct_pn_numbers {
	if vector == nil {
		return C.struct_pn_numbers{n: -1}
	}
	return C.struct_pn_numbers{data: (*C.double)(unsafe.SliceData(vector)), n: C.int64_t(len(vector))}
}

// cFlag says true or false.
func cFlag(set bool) C.int32_t {
	if set {
		return 1
	}
	return 0
}

// cSchema hands a schema over.
func cSchema(schema *arrow.Schema) *C.struct_ArrowSchema {
	var exported cdata.CArrowSchema
	cdata.ExportArrowSchema(schema, &exported)
	return (*C.struct_ArrowSchema)(unsafe.Pointer(&exported))
}

// cField hands a schema of one field over.
func cField(f arrow.Field) *C.struct_ArrowSchema {
	return cSchema(arrow.NewSchema([]arrow.Field{f}, nil))
}

// cRows hands records over.
func cRows(records ...arrow.Record) C.struct_pn_arrays {
	exported := make([]cdata.CArrowArray, len(records))
	for i, r := range records {
		r := Exportable(r)
		cdata.ExportArrowRecordBatch(r, &exported[i], nil)
		r.Release()
	}
	data := (*C.struct_ArrowArray)(unsafe.Pointer(unsafe.SliceData(exported)))
	return C.struct_pn_arrays{data: data, n: C.int64_t(len(exported))}
}

// live counts what the native library keeps alive: tables, snapshots, readers
// and texts.
func live() (objects [4]int64) {
	l, _ := native("live", func(out *C.struct_pn_live, e *owned) status { return C.pn_live_objects(out, e) })
	return [4]int64{int64(l.tables), int64(l.snapshots), int64(l.readers), int64(l.strings)}
}
