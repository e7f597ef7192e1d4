package lance

/*
#cgo CFLAGS: -I${SRCDIR}/../../native
#cgo LDFLAGS: -L${SRCDIR}/../../python/persisting/_lib -lpersisting_native -Wl,-rpath,$ORIGIN
#include <stdlib.h>
#include "persisting_native.h"

static void pn_error_release(struct persisting_native_error *e) {
  if (e->release) e->release(e);
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
)

// The types of the native handles, for the files that do not use cgo.
type (
	tableHandle    = *C.pn_table
	snapshotHandle = *C.pn_snapshot
	readerHandle   = *C.pn_reader
)

// check turns a status into an error.
func check(op string, status C.int32_t, e *C.struct_persisting_native_error) error {
	if status == C.PN_OK {
		return nil
	}
	msg := C.GoString(e.message)
	C.pn_error_release(e)
	class, ok := classes[int32(status)]
	if !ok {
		class = ErrInternal
	}
	return &Error{Op: op, Msg: msg, Err: class}
}

func flag(set bool) C.int32_t {
	if set {
		return 1
	}
	return 0
}

// cStrings lays out strings as a C array; free releases it.
func cStrings(ss []string) (array **C.char, free func()) {
	if len(ss) == 0 {
		return nil, func() {}
	}
	p := (**C.char)(C.calloc(C.size_t(len(ss)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	view := unsafe.Slice(p, len(ss))
	for i, s := range ss {
		view[i] = C.CString(s)
	}
	return p, func() {
		for _, s := range view {
			C.free(unsafe.Pointer(s))
		}
		C.free(unsafe.Pointer(p))
	}
}

// goStrings takes over a native list of strings.
func goStrings(list *C.pn_strings) ([]string, error) {
	defer C.pn_strings_close(list, nil)
	var e C.struct_persisting_native_error
	var n C.int64_t
	if err := check("strings", C.pn_strings_count(list, &n, &e), &e); err != nil {
		return nil, err
	}
	ss := make([]string, n)
	for i := range ss {
		var s *C.char
		if err := check("strings", C.pn_strings_get(list, C.int64_t(i), &s, &e), &e); err != nil {
			return nil, err
		}
		ss[i] = C.GoString(s)
	}
	return ss, nil
}

func cSchema(p *cdata.CArrowSchema) *C.struct_ArrowSchema {
	return (*C.struct_ArrowSchema)(unsafe.Pointer(p))
}

func cArray(p *cdata.CArrowArray) *C.struct_ArrowArray {
	return (*C.struct_ArrowArray)(unsafe.Pointer(p))
}

// exportRecords lays out records as a C array, NULL without any.
func exportRecords(records []arrow.Record) (*C.struct_ArrowArray, C.int64_t) {
	if len(records) == 0 {
		return nil, 0
	}
	arrays := make([]cdata.CArrowArray, len(records))
	for i, r := range records {
		r := Exportable(r)
		cdata.ExportArrowRecordBatch(r, &arrays[i], nil)
		r.Release()
	}
	return cArray(&arrays[0]), C.int64_t(len(arrays))
}

// nativeCreate makes a table of records, whose columns are those of schema under
// other names.
func nativeCreate(dir string, records []arrow.Record, schema *arrow.Schema) error {
	cDir := C.CString(dir)
	defer C.free(unsafe.Pointer(cDir))
	arrays, n := exportRecords(records)
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(schema, &s)
	var e C.struct_persisting_native_error
	return check("create", C.pn_table_create(cDir, arrays, n, cSchema(&s), &e), &e)
}

func nativeAttach(lancedbTable unsafe.Pointer, cfg Config) (tableHandle, error) {
	options := C.struct_pn_table_options{
		metadata_cache_bytes: C.int64_t(cfg.MetadataCacheBytes),
		index_cache_bytes:    C.int64_t(cfg.IndexCacheBytes),
		io_buffer_bytes:      C.int64_t(cfg.IOBufferBytes),
		open_fragments:       C.int64_t(cfg.OpenFragments),
	}
	var out tableHandle
	var e C.struct_persisting_native_error
	return out, check("open", C.pn_table_attach(lancedbTable, &options, &out, &e), &e)
}

func nativeCloseTable(t tableHandle) { C.pn_table_close(t, nil) }

func nativeSnapshot(t tableHandle) (snapshotHandle, error) {
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("snapshot", C.pn_table_snapshot(t, &out, &e), &e)
	return out, err
}

// nativeAppend writes records, whose columns are those of schema under other
// names.
func nativeAppend(t tableHandle, records []arrow.Record, schema *arrow.Schema) (snapshotHandle, error) {
	arrays, n := exportRecords(records)
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(schema, &s)
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("append", C.pn_table_append(t, arrays, n, cSchema(&s), &out, &e), &e)
	return out, err
}

func nativeAddColumns(t tableHandle, schema *arrow.Schema) (snapshotHandle, error) {
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(schema, &s)
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("add columns", C.pn_table_add_columns(t, cSchema(&s), &out, &e), &e)
	return out, err
}

func nativeCastColumn(t tableHandle, name string, to arrow.Field) (snapshotHandle, error) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(arrow.NewSchema([]arrow.Field{to}, nil), &s)
	var out snapshotHandle
	var e C.struct_persisting_native_error
	err := check("cast column", C.pn_table_cast_column(t, cName, cSchema(&s), &out, &e), &e)
	return out, err
}

func nativeCompact(t tableHandle, o CompactOptions) (snapshotHandle, CompactStats, error) {
	options := C.struct_pn_compact_options{
		target_bytes:  C.int64_t(o.TargetBytes),
		min_fragments: C.int64_t(o.MinFragments),
		max_bytes:     C.int64_t(o.MaxBytes),
		thorough:      flag(o.Thorough),
	}
	var out snapshotHandle
	var stats C.struct_pn_compact_stats
	var e C.struct_persisting_native_error
	err := check("compact", C.pn_table_compact(t, &options, &out, &stats, &e), &e)
	return out, CompactStats{
		FragmentsRemoved: int64(stats.fragments_removed),
		FragmentsAdded:   int64(stats.fragments_added),
		BytesRead:        int64(stats.bytes_read),
		More:             stats.more != 0,
	}, err
}

func nativeCleanup(t tableHandle, keepFrom uint64) (CleanupStats, error) {
	var stats C.struct_pn_cleanup_stats
	var e C.struct_persisting_native_error
	err := check("cleanup", C.pn_table_cleanup(t, C.uint64_t(keepFrom), &stats, &e), &e)
	return CleanupStats{
		Versions: int64(stats.versions_removed),
		Files:    int64(stats.files_removed),
		Bytes:    int64(stats.bytes_removed),
	}, err
}

func nativeCloseSnapshot(s snapshotHandle) { C.pn_snapshot_close(s, nil) }

func nativeInfo(s snapshotHandle) (info, error) {
	var i C.struct_pn_snapshot_info
	var e C.struct_persisting_native_error
	err := check("info", C.pn_snapshot_info(s, &i, &e), &e)
	return info{
		version:   uint64(i.version),
		nextRowID: int64(i.next_row_id),
		rows:      int64(i.rows),
		fragments: int(i.fragments),
		dataBytes: int64(i.data_bytes),
		schema:    uint64(i.schema),
	}, err
}

func nativeSchema(s snapshotHandle) (*arrow.Schema, error) {
	var out cdata.CArrowSchema
	var e C.struct_persisting_native_error
	if err := check("schema", C.pn_snapshot_schema(s, cSchema(&out), &e), &e); err != nil {
		return nil, err
	}
	schema, err := cdata.ImportCArrowSchema(&out)
	if err != nil {
		return nil, fmt.Errorf("%w: schema: %w", ErrInternal, err)
	}
	return schema, nil
}

func nativeRead(s snapshotHandle, first, count int64, columns []string, batchRows int, noWait bool) (readerHandle, error) {
	names, free := cStrings(columns)
	defer free()
	var out readerHandle
	var e C.struct_persisting_native_error
	err := check("read", C.pn_snapshot_read(s, C.int64_t(first), C.int64_t(count), names, C.int64_t(len(columns)),
		C.int64_t(batchRows), flag(noWait), &out, &e), &e)
	return out, err
}

// nativeNext returns nil at the end.
func nativeNext(r readerHandle, schema *arrow.Schema) (arrow.Record, error) {
	var out cdata.CArrowArray
	var e C.struct_persisting_native_error
	var end C.int32_t
	if err := check("read", C.pn_reader_next(r, cArray(&out), &end, &e), &e); err != nil || end != 0 {
		return nil, err
	}
	return importRecord(&out, schema)
}

func nativeCloseReader(r readerHandle) { C.pn_reader_close(r, nil) }

func nativeTake(s snapshotHandle, ids []int64, columns []string, noWait bool, schema *arrow.Schema) (arrow.Record, error) {
	names, free := cStrings(columns)
	defer free()
	var out cdata.CArrowArray
	var e C.struct_persisting_native_error
	err := check("take", C.pn_snapshot_take(s, (*C.int64_t)(&ids[0]), C.int64_t(len(ids)), names, C.int64_t(len(columns)),
		flag(noWait), cArray(&out), &e), &e)
	if err != nil {
		return nil, err
	}
	return importRecord(&out, schema)
}

func importRecord(a *cdata.CArrowArray, schema *arrow.Schema) (arrow.Record, error) {
	repointAll(a)
	record, err := cdata.ImportCRecordBatchWithSchema(a, schema)
	if err != nil {
		cdata.ReleaseCArrowArray(a)
		return nil, fmt.Errorf("%w: batch: %w", ErrInternal, err)
	}
	return record, nil
}

func nativeChangedFiles(before, after snapshotHandle) ([]string, error) {
	var list *C.pn_strings
	var e C.struct_persisting_native_error
	if err := check("changed files", C.pn_changed_files(before, after, &list, &e), &e); err != nil {
		return nil, err
	}
	return goStrings(list)
}

func nativeMend(dir string, version uint64) ([]string, error) {
	cDir := C.CString(dir)
	defer C.free(unsafe.Pointer(cDir))
	var list *C.pn_strings
	var e C.struct_persisting_native_error
	if err := check("mend", C.pn_mend(cDir, C.uint64_t(version), &list, &e), &e); err != nil {
		return nil, err
	}
	return goStrings(list)
}

func nativeCheck(dir string, o CheckOptions) (string, error) {
	cDir := C.CString(dir)
	defer C.free(unsafe.Pointer(cDir))
	var list *C.pn_strings
	var e C.struct_persisting_native_error
	if err := check("check", C.pn_check(cDir, C.uint64_t(o.Newest), C.uint64_t(o.Damaged), flag(o.Layout), &list, &e), &e); err != nil {
		return "", err
	}
	texts, err := goStrings(list)
	if err != nil {
		return "", err
	}
	return texts[0], nil
}

func nativeOpenVersion(dir string, version uint64) (snapshotHandle, error) {
	cDir := C.CString(dir)
	defer C.free(unsafe.Pointer(cDir))
	var out snapshotHandle
	var e C.struct_persisting_native_error
	return out, check("open", C.pn_snapshot_open(cDir, C.uint64_t(version), &out, &e), &e)
}

// live counts what the native library keeps alive: tables, snapshots, readers
// and string lists.
func live() (objects [4]int64) {
	var l C.struct_pn_live
	C.pn_live_objects(&l, nil)
	return [4]int64{int64(l.tables), int64(l.snapshots), int64(l.readers), int64(l.strings)}
}
