package lance

/*
#include <stdlib.h>
#include "persisting_native.h"
*/
import "C"

import (
	"unsafe"
)

// doubles lends a slice to C; nil stays nil.
func doubles(v []float64) (*C.double, C.int64_t) {
	if v == nil {
		return nil, 0
	}
	if len(v) == 0 {
		v = make([]float64, 0, 1)
	}
	return (*C.double)(unsafe.Pointer(unsafe.SliceData(v))), C.int64_t(len(v))
}

func nativeQuery(s snapshotHandle, query string, vector []float64) (readerHandle, error) {
	text := C.CString(query)
	defer C.free(unsafe.Pointer(text))
	values, n := doubles(vector)
	var out readerHandle
	var e C.struct_persisting_native_error
	err := check("query", C.pn_snapshot_query(s, text, values, n, &out, &e), &e)
	return out, err
}

func nativeCount(s snapshotHandle, query string) (int64, error) {
	text := C.CString(query)
	defer C.free(unsafe.Pointer(text))
	var out C.int64_t
	var e C.struct_persisting_native_error
	err := check("count", C.pn_snapshot_count(s, text, &out, &e), &e)
	return int64(out), err
}

func nativeExplain(s snapshotHandle, query string, vector []float64) (string, error) {
	text := C.CString(query)
	defer C.free(unsafe.Pointer(text))
	values, n := doubles(vector)
	return goString("explain", func(out **C.pn_strings, e *C.struct_persisting_native_error) C.int32_t {
		return C.pn_snapshot_explain(s, text, values, n, out, e)
	})
}

func nativeCreateIndex(t tableHandle, index string) (snapshotHandle, error) {
	text := C.CString(index)
	defer C.free(unsafe.Pointer(text))
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("create index", C.pn_table_create_index(t, text, &out, &e), &e)
	return out, err
}

func nativeIndexProgress(t tableHandle) (string, error) {
	return goString("index progress", func(out **C.pn_strings, e *C.struct_persisting_native_error) C.int32_t {
		return C.pn_table_index_progress(t, out, e)
	})
}

func nativeCancelIndexes(t tableHandle) { C.pn_table_cancel_indexes(t, nil) }

func nativeDropIndex(t tableHandle, name string) (snapshotHandle, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("drop index", C.pn_table_drop_index(t, text, &out, &e), &e)
	return out, err
}

func nativeExtendIndexes(t tableHandle, indexes []string) (snapshotHandle, error) {
	names, free := cStrings(indexes)
	defer free()
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("extend indexes", C.pn_table_extend_indexes(t, names, C.int64_t(len(indexes)), &out, &e), &e)
	return out, err
}

func nativeIndexes(s snapshotHandle) (string, error) {
	return goString("indexes", func(out **C.pn_strings, e *C.struct_persisting_native_error) C.int32_t {
		return C.pn_snapshot_indexes(s, out, e)
	})
}

func nativeIndexStatistics(s snapshotHandle, name string) (string, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return goString("index statistics", func(out **C.pn_strings, e *C.struct_persisting_native_error) C.int32_t {
		return C.pn_snapshot_index_statistics(s, text, out, e)
	})
}

// goString has call make a native list of one string, and takes it over.
func goString(op string, call func(**C.pn_strings, *C.struct_persisting_native_error) C.int32_t) (string, error) {
	var list *C.pn_strings
	var e C.struct_persisting_native_error
	if err := check(op, call(&list, &e), &e); err != nil {
		return "", err
	}
	texts, err := goStrings(list)
	if err != nil {
		return "", err
	}
	return texts[0], nil
}
