package main

import "github.com/persisting/persisting/engine/bucket"

// #include "shim.h"
import "C"

//export persistingBucketDeleteGo
func persistingBucketDeleteGo(id C.persisting_bucket, filter *C.char, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		n, err := b.Delete(C.GoString(filter))
		if err == nil {
			*out = C.int64_t(n)
		}
		return err
	}, arg("filter", filter), arg("out_rows", out))
}

//export persistingBucketTruncateBeforeGo
func persistingBucketTruncateBeforeGo(id C.persisting_bucket, offset C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		n, err := b.TruncateBefore(int64(offset))
		if err == nil {
			*out = C.int64_t(n)
		}
		return err
	}, arg("out_rows", out))
}

//export persistingBucketFirstFromGo
func persistingBucketFirstFromGo(id C.persisting_bucket, offset C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		first, err := b.FirstFrom(int64(offset))
		if err == nil {
			*out = C.int64_t(first)
		}
		return err
	}, arg("out_first", out))
}
