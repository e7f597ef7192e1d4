package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/persisting/persisting/engine/bucket"
)

// #include "shim.h"
import "C"

// namesIn are the names in a JSON array.
func namesIn(text *C.char) (names []string, err error) {
	if err := json.Unmarshal([]byte(C.GoString(text)), &names); err != nil {
		return nil, fmt.Errorf("%w: columns_json is no JSON array of names: %w", errArgument, err)
	}
	return names, nil
}

//export persistingBucketMarkGo
func persistingBucketMarkGo(id C.persisting_bucket, task *C.char, offsets *C.int64_t, count C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		return b.Tasks().Mark(C.GoString(task), at)
	}, arg("task", task))
}

//export persistingBucketUnmarkGo
func persistingBucketUnmarkGo(id C.persisting_bucket, task *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return b.Tasks().Unmark(C.GoString(task))
	}, arg("task", task))
}

//export persistingBucketMarkedGo
func persistingBucketMarkedGo(id C.persisting_bucket, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		counts, err := b.Tasks().Marked()
		if err != nil {
			return err
		}
		return toJSON(counts, out)
	}, arg("out_json", out))
}

//export persistingBucketTakeReadyGo
func persistingBucketTakeReadyGo(id C.persisting_bucket, task, columns *C.char, limit C.int64_t, offsets, outCount *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		into, err := offsetsAt(offsets, limit)
		if err != nil {
			return err
		}
		names, err := namesIn(columns)
		if err != nil {
			return err
		}
		taken, err := b.Tasks().Take(C.GoString(task), names, int64(limit))
		if err != nil {
			return err
		}
		*outCount = C.int64_t(copy(into, taken))
		return nil
	}, arg("task", task), arg("columns_json", columns), arg("out_count", outCount))
}

//export persistingBucketReadyGo
func persistingBucketReadyGo(id C.persisting_bucket, task, columns *C.char, bits *C.uint8_t, size C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if size < 0 || size > 0 && bits == nil {
			return fmt.Errorf("%w: bits is NULL or size %d is negative", errArgument, size)
		}
		names, err := namesIn(columns)
		if err != nil {
			return err
		}
		into := unsafe.Slice((*byte)(unsafe.Pointer(bits)), int(size))
		return b.Tasks().Ready(C.GoString(task), names, func(first int64, rows uint64) bool {
			if first/8 >= int64(size) {
				return false
			}
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], rows)
			copy(into[first/8:], word[:])
			return true
		})
	}, arg("task", task), arg("columns_json", columns))
}

//export persistingBucketClearGo
func persistingBucketClearGo(id C.persisting_bucket, offsets *C.int64_t, count C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		removed, err := b.Tasks().Clear(at)
		if err != nil {
			return err
		}
		*out = C.int64_t(removed)
		return nil
	}, arg("out_rows", out))
}
