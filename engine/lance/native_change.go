package lance

/*
#include <stdlib.h>
#include "persisting_native.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/cdata"
)

// withStrings calls f with C copies of strings; those that are nil are NULL.
func withStrings(f func(c []*C.char), strings ...*string) {
	c := make([]*C.char, len(strings))
	for i, s := range strings {
		if s != nil {
			c[i] = C.CString(*s)
			defer C.free(unsafe.Pointer(c[i]))
		}
	}
	f(c)
}

// nativeFillColumn gives f either value, which has one row, or expression.
func nativeFillColumn(t tableHandle, f arrow.Field, value arrow.Record, expression *string) (out snapshotHandle, err error) {
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(arrow.NewSchema([]arrow.Field{f}, nil), &s)
	var a cdata.CArrowArray
	var array *C.struct_ArrowArray
	if value != nil {
		exported := Exportable(value)
		cdata.ExportArrowRecordBatch(exported, &a, nil)
		exported.Release()
		array = cArray(&a)
	}
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("fill column", C.pn_table_fill_column(t, cSchema(&s), array, c[0], &out, &e), &e)
	}, expression)
	return out, err
}

func nativeDropColumn(t tableHandle, name string) (out snapshotHandle, err error) {
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("drop column", C.pn_table_drop_column(t, c[0], &out, &e), &e)
	}, &name)
	return out, err
}

func nativeRenameColumn(t tableHandle, name string, to arrow.Field) (out snapshotHandle, err error) {
	var s cdata.CArrowSchema
	cdata.ExportArrowSchema(arrow.NewSchema([]arrow.Field{to}, nil), &s)
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("rename column", C.pn_table_rename_column(t, c[0], cSchema(&s), &out, &e), &e)
	}, &name)
	return out, err
}

func nativeRewriteKeys(t tableHandle, column, key string, to *string) (out snapshotHandle, err error) {
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("rewrite keys", C.pn_table_rewrite_keys(t, c[0], c[1], c[2], &out, &e), &e)
	}, &column, &key, to)
	return out, err
}

func nativeDelete(t tableHandle, filter string) (out snapshotHandle, err error) {
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("delete", C.pn_table_delete(t, c[0], &out, &e), &e)
	}, &filter)
	return out, err
}

func nativeDeleteBefore(t tableHandle, id int64) (out snapshotHandle, err error) {
	var e C.struct_persisting_native_error
	err = check("delete", C.pn_table_delete_before(t, C.int64_t(id), &out, &e), &e)
	return out, err
}

func nativeVersions(t tableHandle) (string, error) {
	var list *C.pn_strings
	var e C.struct_persisting_native_error
	if err := check("versions", C.pn_table_versions(t, &list, &e), &e); err != nil {
		return "", err
	}
	texts, err := goStrings(list)
	if err != nil {
		return "", err
	}
	return texts[0], nil
}

func nativeCheckout(t tableHandle, version uint64) (out snapshotHandle, err error) {
	var e C.struct_persisting_native_error
	err = check("checkout", C.pn_table_checkout(t, C.uint64_t(version), &out, &e), &e)
	return out, err
}

func nativeRestore(t tableHandle, version uint64) (out snapshotHandle, err error) {
	var e C.struct_persisting_native_error
	err = check("restore", C.pn_table_restore(t, C.uint64_t(version), &out, &e), &e)
	return out, err
}

func nativeSeek(s snapshotHandle, id int64) (rank, first, end int64, err error) {
	var r, f, n C.int64_t
	var e C.struct_persisting_native_error
	err = check("seek", C.pn_snapshot_seek(s, C.int64_t(id), &r, &f, &n, &e), &e)
	return int64(r), int64(f), int64(n), err
}

func nativeBytesFrom(s snapshotHandle, id int64) (int64, error) {
	var bytes C.int64_t
	var e C.struct_persisting_native_error
	err := check("bytes of rows", C.pn_snapshot_bytes_from(s, C.int64_t(id), &bytes, &e), &e)
	return int64(bytes), err
}

func nativeStoredSQL(sql, names string) (out string, err error) {
	withStrings(func(c []*C.char) {
		out, err = goString("sql", func(list **C.pn_strings, e *C.struct_persisting_native_error) C.int32_t {
			return C.pn_sql_stored(c[0], c[1], list, e)
		})
	}, &sql, &names)
	return out, err
}

func nativeExpressionType(s snapshotHandle, expression string) (kind arrow.DataType, err error) {
	var out cdata.CArrowSchema
	withStrings(func(c []*C.char) {
		var e C.struct_persisting_native_error
		err = check("expression", C.pn_snapshot_expression_type(s, c[0], cSchema(&out), &e), &e)
	}, &expression)
	if err != nil {
		return nil, err
	}
	schema, err := cdata.ImportCArrowSchema(&out)
	if err != nil {
		return nil, fmt.Errorf("%w: schema: %w", ErrInternal, err)
	}
	return schema.Field(0).Type, nil
}
