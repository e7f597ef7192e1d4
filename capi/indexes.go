package main

import (
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

// #include "shim.h"
import "C"

//export persistingBucketCreateIndexGo
func persistingBucketCreateIndexGo(id C.persisting_bucket, index *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		spec, err := table.ParseIndexSpec([]byte(C.GoString(index)))
		if err != nil {
			return err
		}
		return b.CreateIndex(spec)
	}, arg("index", index))
}

//export persistingBucketDropIndexGo
func persistingBucketDropIndexGo(id C.persisting_bucket, name *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return b.DropIndex(C.GoString(name))
	}, arg("index_name", name))
}

//export persistingBucketIndexesGo
func persistingBucketIndexesGo(id C.persisting_bucket, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		indexes, err := b.Indexes()
		if err != nil {
			return err
		}
		text, err := json.Marshal(indexes)
		if err != nil {
			return fmt.Errorf("%w: write indexes: %w", errInternal, err)
		}
		*out = C.CString(string(text))
		return nil
	}, arg("out_json", out))
}

//export persistingBucketIndexStatsGo
func persistingBucketIndexStatsGo(id C.persisting_bucket, name *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		text, err := b.IndexStatistics(C.GoString(name))
		if err != nil {
			return err
		}
		*out = C.CString(text)
		return nil
	}, arg("index_name", name), arg("out_json", out))
}
