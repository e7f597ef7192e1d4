package main

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/bucket"
)

// #include "shim.h"
import "C"

//export persistingBucketAddColumnsGo
func persistingBucketAddColumnsGo(id C.persisting_bucket, s *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		columns, err := importColumns(s)
		if err != nil {
			return err
		}
		return b.Columns().Add(columns.Fields())
	}, arg("schema", s))
}

//export persistingBucketFillColumnGo
func persistingBucketFillColumnGo(id C.persisting_bucket, a *C.struct_ArrowArray, s *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_array(a)
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		row, err := importBatch(a, s)
		if err != nil {
			return err
		}
		defer row.Release()
		return b.Columns().Fill(row)
	}, arg("array", a), arg("schema", s))
}

//export persistingBucketComputeColumnGo
func persistingBucketComputeColumnGo(id C.persisting_bucket, s *C.struct_ArrowSchema, expression *C.char, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		f, err := importField(s)
		if err != nil {
			return err
		}
		if f.Type.ID() == arrow.NULL {
			f.Type = nil
		}
		return b.Columns().Compute(f, C.GoString(expression))
	}, arg("schema", s), arg("expression", expression))
}

//export persistingBucketDropColumnGo
func persistingBucketDropColumnGo(id C.persisting_bucket, name *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error { return b.Columns().Drop(C.GoString(name)) }, arg("name", name))
}

//export persistingBucketRenameColumnGo
func persistingBucketRenameColumnGo(id C.persisting_bucket, name, to *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return b.Columns().Rename(C.GoString(name), C.GoString(to))
	}, arg("name", name), arg("to", to))
}

//export persistingBucketCastColumnGo
func persistingBucketCastColumnGo(id C.persisting_bucket, s *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		f, err := importField(s)
		if err != nil {
			return err
		}
		return b.Columns().Cast(f)
	}, arg("schema", s))
}

//export persistingBucketDeclareGo
func persistingBucketDeclareGo(id C.persisting_bucket, s *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		columns, err := importColumns(s)
		if err != nil {
			return err
		}
		return b.Columns().Declare(columns)
	}, arg("schema", s))
}
