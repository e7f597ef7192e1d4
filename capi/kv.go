package main

// #include "shim.h"
import "C"

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/transfer"
)

var (
	kvClose    = kv.Blocks.Close
	kvDrop     = kv.Blocks.DropNamespace
	kvEvict    = kv.Blocks.Evict
	kvFlush    = kv.Blocks.Flush
	kvSetQuota = kv.Blocks.SetQuota
	kvSpace    = kv.Blocks.Space
	kvStats    = kv.Blocks.Report
	kvVerify   = kv.Blocks.Verify
)

func kvOpen(dir string, options []byte) (*kv.Store, error) {
	o, err := kv.ParseOptions(options)
	if err != nil {
		return nil, err
	}
	o.Metrics, o.Logger = buckets, messages.Logger("engine")
	return kv.Open(dir, o)
}

// maxKeys bounds what one call takes, far above what any sends.
const maxKeys = 1 << 24

func checkCount(count int64) error {
	if count < 0 || count > maxKeys {
		return fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, maxKeys)
	}
	return nil
}

// keysAt are keys where C has them, one behind the other.
func keysAt(all unsafe.Pointer, sizes *C.int32_t, count C.int64_t) ([][]byte, error) {
	if err := checkCount(int64(count)); err != nil {
		return nil, err
	}
	keys := make([][]byte, count)
	for i, size := range unsafe.Slice(sizes, count) {
		if size < 0 {
			return nil, fmt.Errorf("%w: key_sizes[%d] is %d", errArgument, i, size)
		}
		keys[i] = unsafe.Slice((*byte)(all), size)
		all = unsafe.Add(all, size)
	}
	return keys, nil
}

// lease turns milliseconds into a time.
func lease(ms int64, name string) (time.Duration, error) {
	if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return 0, fmt.Errorf("%w: %s is %d, want 0 to %d", errArgument, name, ms, math.MaxInt64/int64(time.Millisecond))
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// kvExists fills lengths, which is the caller's array: nothing is made for each key.
func kvExists(s kv.Blocks, space uint32, keys [][]byte, leaseMs int64, lengths []int64) error {
	of, err := lease(leaseMs, "lease_ms")
	if err != nil {
		return err
	}
	return s.ExistsAll(space, keys, of, lengths)
}

func kvFind(s kv.Blocks, space uint32, key []byte, leaseMs int64) (int64, error) {
	of, err := lease(leaseMs, "lease_ms")
	if err != nil {
		return 0, err
	}
	// In every other call the length of a key has 32 bits, and so it has in the files.
	if len(key) > math.MaxInt32 {
		return 0, fmt.Errorf("%w: size is %d, want 0 to %d", errArgument, len(key), math.MaxInt32)
	}
	return s.Exists(space, key, of)
}

// kvPrefix looks no further than the first key that is not there: an engine can use blocks from the first on, and no others.
func kvPrefix(s kv.Blocks, space uint32, keys [][]byte, leaseMs int64) (int, error) {
	of, err := lease(leaseMs, "lease_ms")
	if err != nil {
		return 0, err
	}
	return s.Prefix(space, keys, of)
}

func kvLocate(s kv.Blocks, space uint32, keys [][]byte, leaseMs int64) ([]*kv.Location, error) {
	of, err := lease(leaseMs, "lease_ms")
	if err != nil {
		return nil, err
	}
	return s.Locate(space, keys, of)
}

// batchOf is what the engine is asked for. It may outlive the call, so the keys are copied; the
// memory is C's, and no Go pointer is ever stored in it.
func batchOf(space uint32, keys [][]byte, pieces []int32, addresses *C.uint64_t, lengths *C.int64_t, ttlMs int64, results []int8) (*transfer.Batch, error) {
	ttl, err := lease(ttlMs, "ttl_ms")
	if err != nil {
		return nil, err
	}
	total := 0
	for i, count := range pieces {
		if count < 0 {
			return nil, fmt.Errorf("%w: pieces[%d] is %d", errArgument, i, count)
		}
		total += int(count)
	}
	// One slice for the pieces of all keys and one for the keys, not two for each key.
	memory, err := memoryAt(addresses, lengths, total)
	if err != nil {
		return nil, err
	}
	names := slices.Concat(keys...)
	b := &transfer.Batch{Space: space, Items: make([]transfer.Item, len(keys)), TTL: ttl, Results: results}
	for i, count := range pieces {
		size := len(keys[i])
		b.Items[i] = transfer.Item{Key: names[:size:size], Pieces: memory[:count:count]}
		names, memory = names[size:], memory[count:]
	}
	return b, nil
}

// memoryAt are pieces of memory that C owns.
func memoryAt(addresses *C.uint64_t, lengths *C.int64_t, count int) ([][]byte, error) {
	all := make([][]byte, count)
	at, sizes := unsafe.Slice(addresses, count), unsafe.Slice(lengths, count)
	for i := range all {
		var err error
		if all[i], err = borrowed(at[i], sizes[i]); err != nil {
			return nil, fmt.Errorf("piece %d: %w", i, err)
		}
	}
	return all, nil
}

func kvLoad(s kv.Blocks, space uint32, keys [][]byte, pieces []int32, addresses *C.uint64_t, lengths *C.int64_t, results []int8) error {
	b, err := batchOf(space, keys, pieces, addresses, lengths, 0, results)
	if err != nil {
		return err
	}
	return s.Get(b)
}

func kvStore(s kv.Blocks, space uint32, keys [][]byte, pieces []int32, addresses *C.uint64_t, lengths *C.int64_t, ttlMs int64, results []int8) error {
	b, err := batchOf(space, keys, pieces, addresses, lengths, ttlMs, results)
	if err != nil {
		return err
	}
	return s.Set(b)
}

// kvSubmitLoad ends before its batch does, as kvSubmitStore: what the batch refers to is either copied by batchOf or kept by the
// caller until the ticket is drained.
func kvSubmitLoad(s kv.Blocks, space uint32, keys [][]byte, pieces []int32, addresses *C.uint64_t, lengths *C.int64_t, results []int8) (uint64, error) {
	b, err := batchOf(space, keys, pieces, addresses, lengths, 0, results)
	if err != nil {
		return 0, err
	}
	return s.SubmitGet(b)
}

func kvSubmitStore(s kv.Blocks, space uint32, keys [][]byte, pieces []int32, addresses *C.uint64_t, lengths *C.int64_t, ttlMs int64, results []int8) (uint64, error) {
	b, err := batchOf(space, keys, pieces, addresses, lengths, ttlMs, results)
	if err != nil {
		return 0, err
	}
	return s.SubmitSet(b)
}

func kvDrain(s kv.Blocks, count int64, tickets *C.uint64_t) (int, error) {
	if err := checkCount(count); err != nil {
		return 0, err
	}
	return s.Drain(unsafe.Slice((*uint64)(tickets), count)), nil
}

// kvSetWaker has a 1 written where the waker of a bucket has a number of rows: how many tickets there are is seen when they are
// drained.
func kvSetWaker(s kv.Blocks, fd int32) error {
	if fd < 0 {
		s.SetWaker(nil)
		return nil
	}
	s.SetWaker(func() { wake(fd, 1) })
	return nil
}

// changeKeys has the engine change each key. What was changed before an error stays so: keys have nothing to do with each other.
func changeKeys(keys [][]byte, results []int8, change func(key []byte) (bool, error)) error {
	for i, key := range keys {
		there, err := change(key)
		if err != nil {
			return err
		}
		if results[i] = transfer.Absent; there {
			results[i] = transfer.OK
		}
	}
	return nil
}

// kvDelete says of each key whether it was there, which is no error: another process may have been faster.
func kvDelete(s kv.Blocks, space uint32, keys [][]byte, results []int8) error {
	return changeKeys(keys, results, func(key []byte) (bool, error) { return s.Delete(space, key) })
}

func kvTouch(s kv.Blocks, space uint32, keys [][]byte, ttlMs int64, results []int8) error {
	ttl, err := lease(ttlMs, "ttl_ms")
	if err != nil {
		return err
	}
	return changeKeys(keys, results, func(key []byte) (bool, error) { return s.Touch(space, key, ttl) })
}

func kvPin(s kv.Blocks, space uint32, keys [][]byte, yes uint32, results []int8) error {
	if yes > 1 {
		return fmt.Errorf("%w: yes is %d, want 0 or 1", errArgument, yes)
	}
	return changeKeys(keys, results, func(key []byte) (bool, error) {
		if yes == 0 {
			return s.Unpin(space, key)
		}
		return s.Pin(space, key)
	})
}

func kvKeys(s kv.Blocks, namespace string, cursor []byte, count int64) (page kv.Page, err error) {
	if err := checkCount(count); err != nil {
		return page, err
	}
	var from kv.Cursor
	if len(cursor) > 0 {
		if err := json.Unmarshal(cursor, &from); err != nil {
			return page, fmt.Errorf("%w: cursor_json: %w", errArgument, err)
		}
	}
	// A page of no keys has a list of none, and not null, as the list is what a caller goes through.
	keys, next, err := s.Keys(namespace, from, int(count))
	return kv.Page{Keys: append([]kv.Key{}, keys...), Next: next}, err
}
