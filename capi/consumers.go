package main

import "github.com/persisting/persisting/engine/bucket"

// #include "shim.h"
import "C"

//export persistingBucketCommitGo
func persistingBucketCommitGo(id C.persisting_bucket, consumer *C.char, offset C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return b.Commit(C.GoString(consumer), int64(offset))
	}, arg("consumer", consumer))
}

//export persistingBucketConsumersGo
func persistingBucketConsumersGo(id C.persisting_bucket, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		all, err := b.Consumers()
		if err != nil {
			return err
		}
		return toJSON(all, out)
	}, arg("out_json", out))
}
