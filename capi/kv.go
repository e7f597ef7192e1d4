package main

// #include "shim.h"
import "C"

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/transfer"
	"golang.org/x/sys/unix"
)

//export persistingKvOpenGo
func persistingKvOpenGo(path, options *C.char, out *C.persisting_kv, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("path", path), arg("kv_options", options), arg("out_kv", out)); err != nil {
			return err
		}
		dir := C.GoString(path)
		if dir == "" {
			return fmt.Errorf("%w: path is empty", errArgument)
		}
		o, err := kv.ParseOptions([]byte(C.GoString(options)))
		if err != nil {
			return err
		}
		o.Metrics, o.Logger = buckets, messages.Logger("engine")
		s, err := kv.Open(dir, o)
		if err != nil {
			return err
		}
		*out = C.persisting_kv(handles.add(kindKV, s))
		return nil
	})
}

func onKV(id C.persisting_kv, e *C.struct_persisting_error, half func(openKV) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindKV, uint64(id), half)
	})
}

//export persistingKvSpaceGo
func persistingKvSpaceGo(id C.persisting_kv, name, salt *C.char, out *C.uint32_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		space, err := s.Space(C.GoString(name), C.GoString(salt))
		if err != nil {
			return err
		}
		*out = C.uint32_t(space)
		return nil
	}, arg("name", name), arg("salt", salt), arg("out_space", out))
}

// onKeys has half look at keys where C has them.
func onKeys(id C.persisting_kv, e *C.struct_persisting_error, b batchKeys, half func(kv.Blocks, [][]byte) error, more ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(b.arguments(more...)...); err != nil {
			return err
		}
		keys, err := b.borrowed()
		if err != nil {
			return err
		}
		return with(kindKV, uint64(id), func(s kv.Blocks) error { return half(s, keys) })
	})
}

// batchKeys are the keys of a call, as C has them.
type batchKeys struct {
	keys  unsafe.Pointer
	sizes *C.int32_t
	count C.int64_t
}

func (b batchKeys) arguments(more ...argument) []argument {
	return append([]argument{{"keys", b.keys == nil}, arg("key_sizes", b.sizes)}, more...)
}

// maxKeys bounds what one call takes, far above what any sends.
const maxKeys = 1 << 24

func checkCount(count C.int64_t) error {
	if count < 0 || count > maxKeys {
		return fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, maxKeys)
	}
	return nil
}

// total is the length of all keys together.
func (b batchKeys) total() (int64, error) {
	if err := checkCount(b.count); err != nil {
		return 0, err
	}
	var total int64
	for i, size := range unsafe.Slice(b.sizes, b.count) {
		if size < 0 {
			return 0, fmt.Errorf("%w: key_sizes[%d] is %d", errArgument, i, size)
		}
		total += int64(size)
	}
	return total, nil
}

// borrowed are the keys where C has them, for calls that keep none.
func (b batchKeys) borrowed() ([][]byte, error) {
	total, err := b.total()
	if err != nil {
		return nil, err
	}
	return b.cut(unsafe.Slice((*byte)(b.keys), total)), nil
}

// copied are the keys for a call that returns before it ends.
func (b batchKeys) copied() ([][]byte, error) {
	total, err := b.total()
	if err != nil {
		return nil, err
	}
	return b.cut(append(make([]byte, 0, total), unsafe.Slice((*byte)(b.keys), total)...)), nil
}

func (b batchKeys) cut(all []byte) [][]byte {
	keys := make([][]byte, b.count)
	for i, size := range unsafe.Slice(b.sizes, b.count) {
		keys[i], all = all[:size:size], all[size:]
	}
	return keys
}

// lease turns milliseconds into a time.
func lease(ms C.int64_t, name string) (time.Duration, error) {
	if ms < 0 || int64(ms) > math.MaxInt64/int64(time.Millisecond) {
		return 0, fmt.Errorf("%w: %s is %d, want 0 to %d", errArgument, name, ms, math.MaxInt64/int64(time.Millisecond))
	}
	return time.Duration(ms) * time.Millisecond, nil
}

//export persistingKvExistsGo
func persistingKvExistsGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count, leaseMs C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKeys(id, e, batchKeys{keys, sizes, count}, func(s kv.Blocks, all [][]byte) error {
		of, err := lease(leaseMs, "lease_ms")
		if err != nil {
			return err
		}
		return s.ExistsAll(uint32(space), all, of, unsafe.Slice((*int64)(out), count))
	}, arg("out_lengths", out))
}

//export persistingKvFindGo
func persistingKvFindGo(id C.persisting_kv, space C.uint32_t, key unsafe.Pointer, size, leaseMs C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		of, err := lease(leaseMs, "lease_ms")
		if err != nil {
			return err
		}
		if size < 0 || size > math.MaxInt32 {
			return fmt.Errorf("%w: size is %d, want 0 to %d", errArgument, size, math.MaxInt32)
		}
		length, err := s.Exists(uint32(space), unsafe.Slice((*byte)(key), size), of)
		if err != nil {
			return err
		}
		*out = C.int64_t(length)
		return nil
	}, argument{"key", key == nil}, arg("out_length", out))
}

//export persistingKvPrefixGo
func persistingKvPrefixGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count, leaseMs C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKeys(id, e, batchKeys{keys, sizes, count}, func(s kv.Blocks, all [][]byte) error {
		of, err := lease(leaseMs, "lease_ms")
		if err != nil {
			return err
		}
		n, err := s.Prefix(uint32(space), all, of)
		if err != nil {
			return err
		}
		*out = C.int64_t(n)
		return nil
	}, arg("out_keys", out))
}

// batchMemory is where the payloads of the keys of a call are.
type batchMemory struct {
	batchKeys
	pieces    *C.int32_t
	addresses *C.uint64_t
	lengths   *C.int64_t
	results   *C.int8_t
}

func (m batchMemory) arguments(more ...argument) []argument {
	return m.batchKeys.arguments(append([]argument{
		arg("pieces", m.pieces), arg("addresses", m.addresses), arg("lengths", m.lengths), arg("results", m.results),
	}, more...)...)
}

// batch is what the engine is asked for. The memory is C's, so no Go pointer is ever stored in it.
func (m batchMemory) batch(space C.uint32_t, ttlMs C.int64_t) (*transfer.Batch, error) {
	keys, err := m.copied()
	if err != nil {
		return nil, err
	}
	ttl, err := lease(ttlMs, "ttl_ms")
	if err != nil {
		return nil, err
	}
	batch := &transfer.Batch{
		Space: uint32(space), Items: make([]transfer.Item, m.count), TTL: ttl,
		Results: unsafe.Slice((*int8)(m.results), m.count),
	}
	total := 0
	for i, pieces := range unsafe.Slice(m.pieces, m.count) {
		if pieces < 0 {
			return nil, fmt.Errorf("%w: pieces[%d] is %d", errArgument, i, pieces)
		}
		total += int(pieces)
	}
	all, err := m.memory(total)
	if err != nil {
		return nil, err
	}
	for i, pieces := range unsafe.Slice(m.pieces, m.count) {
		batch.Items[i] = transfer.Item{Key: keys[i], Pieces: all[:pieces:pieces]}
		all = all[pieces:]
	}
	return batch, nil
}

// memory is that of all pieces of all keys, in one slice.
func (m batchMemory) memory(count int) ([][]byte, error) {
	all := make([][]byte, count)
	addresses, lengths := unsafe.Slice(m.addresses, count), unsafe.Slice(m.lengths, count)
	for j := range all {
		if lengths[j] < 0 || lengths[j] > 0 && addresses[j] == 0 {
			return nil, fmt.Errorf("%w: piece %d has %d bytes at address %#x", errArgument, j, lengths[j], addresses[j])
		}
		if lengths[j] > 0 {
			// The address came as a number, which the compiler cannot follow, and stands for memory that C owns.
			at := *(*unsafe.Pointer)(unsafe.Pointer(&addresses[j]))
			all[j] = unsafe.Slice((*byte)(at), lengths[j])
		}
	}
	return all, nil
}

// moveBatch has the engine read or write a batch.
func moveBatch(id C.persisting_kv, e *C.struct_persisting_error, space C.uint32_t, m batchMemory, ttlMs C.int64_t, half func(kv.Blocks, *transfer.Batch) error, more ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(m.arguments(more...)...); err != nil {
			return err
		}
		batch, err := m.batch(space, ttlMs)
		if err != nil {
			return err
		}
		return with(kindKV, uint64(id), func(s kv.Blocks) error { return half(s, batch) })
	})
}

//export persistingKvLoadGo
func persistingKvLoadGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, pieces *C.int32_t, addresses *C.uint64_t, lengths *C.int64_t, results *C.int8_t, e *C.struct_persisting_error) C.persisting_status {
	return moveBatch(id, e, space, batchMemory{batchKeys{keys, sizes, count}, pieces, addresses, lengths, results}, 0, kv.Blocks.Get)
}

//export persistingKvStoreGo
func persistingKvStoreGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, pieces *C.int32_t, addresses *C.uint64_t, lengths *C.int64_t, ttlMs C.int64_t, results *C.int8_t, e *C.struct_persisting_error) C.persisting_status {
	return moveBatch(id, e, space, batchMemory{batchKeys{keys, sizes, count}, pieces, addresses, lengths, results}, ttlMs, kv.Blocks.Set)
}

//export persistingKvSubmitLoadGo
func persistingKvSubmitLoadGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, pieces *C.int32_t, addresses *C.uint64_t, lengths *C.int64_t, results *C.int8_t, out *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return moveBatch(id, e, space, batchMemory{batchKeys{keys, sizes, count}, pieces, addresses, lengths, results}, 0, submitted(kv.Blocks.SubmitGet, out), arg("out_ticket", out))
}

//export persistingKvSubmitStoreGo
func persistingKvSubmitStoreGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, pieces *C.int32_t, addresses *C.uint64_t, lengths *C.int64_t, ttlMs C.int64_t, results *C.int8_t, out *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return moveBatch(id, e, space, batchMemory{batchKeys{keys, sizes, count}, pieces, addresses, lengths, results}, ttlMs, submitted(kv.Blocks.SubmitSet, out), arg("out_ticket", out))
}

// submitted writes the ticket of a batch.
func submitted(submit func(kv.Blocks, *transfer.Batch) (uint64, error), out *C.uint64_t) func(kv.Blocks, *transfer.Batch) error {
	return func(s kv.Blocks, batch *transfer.Batch) error {
		ticket, err := submit(s, batch)
		if err != nil {
			return err
		}
		*out = C.uint64_t(ticket)
		return nil
	}
}

//export persistingKvDrainGo
func persistingKvDrainGo(id C.persisting_kv, count C.int64_t, tickets *C.uint64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		if err := checkCount(count); err != nil {
			return err
		}
		*out = C.int64_t(s.Drain(unsafe.Slice((*uint64)(tickets), count)))
		return nil
	}, arg("out_tickets", tickets), arg("out_count", out))
}

//export persistingKvSetBellGo
func persistingKvSetBellGo(id C.persisting_kv, fd C.int32_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		if fd < 0 {
			s.SetBell(nil)
			return nil
		}
		s.SetBell(func() {
			var one [8]byte
			binary.NativeEndian.PutUint64(one[:], 1)
			// An eventfd takes more than there are tickets, and a closed one wants nothing.
			_, _ = unix.Write(int(fd), one[:])
		})
		return nil
	})
}

// changeKeys has the engine change each key.
func changeKeys(id C.persisting_kv, e *C.struct_persisting_error, b batchKeys, results *C.int8_t, half func(kv.Blocks, []byte) (bool, error)) C.persisting_status {
	return guard(e, func() error {
		if err := need(b.arguments(arg("results", results))...); err != nil {
			return err
		}
		keys, err := b.borrowed()
		if err != nil {
			return err
		}
		return with(kindKV, uint64(id), func(s kv.Blocks) error {
			found := unsafe.Slice((*int8)(results), b.count)
			for i, key := range keys {
				there, err := half(s, key)
				if err != nil {
					return err
				}
				if found[i] = transfer.Absent; there {
					found[i] = transfer.OK
				}
			}
			return nil
		})
	})
}

//export persistingKvLocateGo
func persistingKvLocateGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count, leaseMs C.int64_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onKeys(id, e, batchKeys{keys, sizes, count}, func(s kv.Blocks, all [][]byte) error {
		of, err := lease(leaseMs, "lease_ms")
		if err != nil {
			return err
		}
		found, err := s.Locate(uint32(space), all, of)
		if err != nil {
			return err
		}
		return toJSON(found, out)
	}, arg("out_json", out))
}

//export persistingKvDeleteGo
func persistingKvDeleteGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, results *C.int8_t, e *C.struct_persisting_error) C.persisting_status {
	return changeKeys(id, e, batchKeys{keys, sizes, count}, results, func(s kv.Blocks, key []byte) (bool, error) {
		return s.Delete(uint32(space), key)
	})
}

//export persistingKvTouchGo
func persistingKvTouchGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count, ttlMs C.int64_t, results *C.int8_t, e *C.struct_persisting_error) C.persisting_status {
	return changeKeys(id, e, batchKeys{keys, sizes, count}, results, func(s kv.Blocks, key []byte) (bool, error) {
		ttl, err := lease(ttlMs, "ttl_ms")
		if err != nil {
			return false, err
		}
		return s.Touch(uint32(space), key, ttl)
	})
}

//export persistingKvPinGo
func persistingKvPinGo(id C.persisting_kv, space C.uint32_t, keys unsafe.Pointer, sizes *C.int32_t, count C.int64_t, yes C.uint32_t, results *C.int8_t, e *C.struct_persisting_error) C.persisting_status {
	return changeKeys(id, e, batchKeys{keys, sizes, count}, results, func(s kv.Blocks, key []byte) (bool, error) {
		switch yes {
		case 0:
			return s.Unpin(uint32(space), key)
		case 1:
			return s.Pin(uint32(space), key)
		}
		return false, fmt.Errorf("%w: yes is %d, want 0 or 1", errArgument, yes)
	})
}

//export persistingKvKeysGo
func persistingKvKeysGo(id C.persisting_kv, name, cursor *C.char, count C.int64_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		if err := checkCount(count); err != nil {
			return err
		}
		var from kv.Cursor
		if cursor != nil {
			if err := json.Unmarshal([]byte(C.GoString(cursor)), &from); err != nil {
				return fmt.Errorf("%w: cursor_json: %w", errArgument, err)
			}
		}
		keys, next, err := s.Keys(C.GoString(name), from, int(count))
		if err != nil {
			return err
		}
		return toJSON(kv.Page{Keys: append([]kv.Key{}, keys...), Next: next}, out)
	}, arg("name", name), arg("out_json", out))
}

//export persistingKvDropGo
func persistingKvDropGo(id C.persisting_kv, name *C.char, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		n, err := s.DropNamespace(C.GoString(name))
		if err != nil {
			return err
		}
		*out = C.int64_t(n)
		return nil
	}, arg("name", name), arg("out_keys", out))
}

//export persistingKvSetQuotaGo
func persistingKvSetQuotaGo(id C.persisting_kv, salt *C.char, bytes C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		return s.SetQuota(C.GoString(salt), int64(bytes))
	}, arg("salt", salt))
}

//export persistingKvStatsGo
func persistingKvStatsGo(id C.persisting_kv, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		stats, err := s.Report()
		if err != nil {
			return err
		}
		return toJSON(stats, out)
	}, arg("out_json", out))
}

//export persistingKvVerifyGo
func persistingKvVerifyGo(id C.persisting_kv, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		found, err := s.Verify()
		if err != nil {
			return err
		}
		return toJSON(found, out)
	}, arg("out_json", out))
}

//export persistingKvEvictGo
func persistingKvEvictGo(id C.persisting_kv, bytes C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error { return s.Evict(int64(bytes)) })
}

//export persistingKvFlushGo
func persistingKvFlushGo(id C.persisting_kv, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, kv.Blocks.Flush)
}

//export persistingKvCloseGo
func persistingKvCloseGo(id C.persisting_kv, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindKV, uint64(id), kv.Blocks.Close) })
}
