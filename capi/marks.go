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
func namesIn(text []byte) (names []string, err error) {
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, fmt.Errorf("%w: columns_json is no JSON array of names: %w", errArgument, err)
	}
	return names, nil
}

// bucketMark, and what follows, is of the tasks of a bucket, which are a part of it that has no handle of its own: a handle more
// would be one more that can outlive its bucket.
func bucketMark(b *bucket.Bucket, task string, offsets []int64) error {
	return b.Tasks().Mark(task, offsets)
}

func bucketUnmark(b *bucket.Bucket, task string) error { return b.Tasks().Unmark(task) }

func bucketMarked(b *bucket.Bucket) (map[string]int64, error) { return b.Tasks().Marked() }

func bucketClear(b *bucket.Bucket, offsets []int64) (int64, error) { return b.Tasks().Clear(offsets) }

func bucketTakeReady(b *bucket.Bucket, task string, columns []byte, into []int64) (int, error) {
	names, err := namesIn(columns)
	if err != nil {
		return 0, err
	}
	taken, err := b.Tasks().Take(task, names, int64(len(into)))
	return copy(into, taken), err
}

func bucketReady(b *bucket.Bucket, task string, columns, bits []byte) error {
	names, err := namesIn(columns)
	if err != nil {
		return err
	}
	return b.Tasks().Ready(task, names, func(first int64, rows uint64) bool {
		// Eight bytes at a time, and fewer at the end: what is behind the caller's bits is not for it to know.
		if first/8 >= int64(len(bits)) {
			return false
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rows)
		copy(bits[first/8:], word[:])
		return true
	})
}

// lent are n elements where C has them; nil for NULL.
func lent[T any](array unsafe.Pointer, n C.int64_t) []T {
	if array == nil {
		return nil
	}
	return unsafe.Slice((*T)(array), int(n))
}
