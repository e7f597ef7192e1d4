package main

import "github.com/persisting/persisting/engine/bucket"

// #include "shim.h"
import "C"

//export persistingBucketVersionsGo
func persistingBucketVersionsGo(id C.persisting_bucket, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		versions, err := b.Versions()
		if err != nil {
			return err
		}
		return toJSON(versions, out)
	}, arg("out_json", out))
}

//export persistingBucketTagGo
func persistingBucketTagGo(id C.persisting_bucket, name *C.char, version C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return b.Tag(C.GoString(name), uint64(version))
	}, arg("name", name))
}

//export persistingBucketUntagGo
func persistingBucketUntagGo(id C.persisting_bucket, name *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error { return b.Untag(C.GoString(name)) }, arg("name", name))
}

//export persistingBucketRestoreGo
func persistingBucketRestoreGo(id C.persisting_bucket, version C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error { return b.Restore(uint64(version)) })
}
