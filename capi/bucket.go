package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"golang.org/x/sys/unix"
)

// #include "shim.h"
import "C"

//export persistingBucketOpenGo
func persistingBucketOpenGo(path, optionsJSON *C.char, out *C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("path", path), arg("out_bucket", out)); err != nil {
			return err
		}
		dir := C.GoString(path)
		if dir == "" {
			return fmt.Errorf("%w: path is empty", errArgument)
		}
		opts, err := options.Parse([]byte(C.GoString(optionsJSON)))
		if err != nil {
			return err
		}
		opts.Metrics, opts.Logger, opts.Budget = buckets, messages.Logger("engine"), budget
		b, err := bucket.Open(dir, opts)
		if err != nil {
			return err
		}
		*out = C.persisting_bucket(handles.add(kindBucket, b))
		return nil
	})
}

//export persistingBucketOpenReadOnlyGo
func persistingBucketOpenReadOnlyGo(directory *C.char, out *C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("directory", directory), arg("out_bucket", out)); err != nil {
			return err
		}
		dir := C.GoString(directory)
		if dir == "" {
			return fmt.Errorf("%w: directory is empty", errArgument)
		}
		opts := options.Default()
		opts.Logger, opts.Budget = messages.Logger("engine"), budget
		b, err := bucket.OpenReadOnly(dir, opts)
		if err != nil {
			return err
		}
		*out = C.persisting_bucket(handles.add(kindBucket, b))
		return nil
	})
}

//export persistingBucketRenewGo
func persistingBucketRenewGo(id C.persisting_bucket, flags C.uint32_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		noWait, err := parseFlags(flags)
		if err != nil {
			return err
		}
		rows, err := b.Renew(noWait)
		if err != nil {
			return err
		}
		*out = C.int64_t(rows)
		return nil
	}, arg("out_rows", out))
}

func onBucket(id C.persisting_bucket, e *C.struct_persisting_error, half func(*bucket.Bucket) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindBucket, uint64(id), half)
	})
}

//export persistingBucketAppendGo
func persistingBucketAppendGo(id C.persisting_bucket, a *C.struct_ArrowArray, s *C.struct_ArrowSchema, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_array(a)
	defer C.shim_release_schema(s)
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if err := checkFlags(flags, appendFlags|C.PERSISTING_CHECK|C.PERSISTING_CHECKED); err != nil {
			return err
		}
		rec, err := importBatch(a, s)
		if err != nil {
			return err
		}
		defer rec.Release()
		if flags&C.PERSISTING_CHECK != 0 {
			return b.Check(rec, flags&C.PERSISTING_NO_WAIT != 0)
		}
		rows := bucket.Record{Rows: rec, Checked: flags&C.PERSISTING_CHECKED != 0}
		return put(b, rows, flags, waitNs, outFirst, outAcknowledged)
	}, arg("array", a), arg("schema", s), arg("out_first", outFirst), arg("out_acknowledged", outAcknowledged))
}

//export persistingBucketAppendMessageGo
func persistingBucketAppendMessageGo(id C.persisting_bucket, columns C.persisting_columns, message unsafe.Pointer, size C.int64_t, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if size < 0 || size > math.MaxInt32 {
			return fmt.Errorf("%w: size %d, want 0 to %d", errArgument, size, math.MaxInt32)
		}
		if err := checkFlags(flags, appendFlags); err != nil {
			return err
		}
		return beside(kindColumns, uint64(columns), func(schema *batch.MessageSchema) error {
			rows := bucket.Message{Columns: schema, Bytes: unsafe.Slice((*byte)(message), int(size))}
			return put(b, rows, flags, waitNs, outFirst, outAcknowledged)
		})
	}, argument{"message", message == nil}, arg("out_first", outFirst), arg("out_acknowledged", outAcknowledged))
}

// put appends a batch, waits for the acknowledgement as its caller wants it, and
// tells where the rows are.
func put(b *bucket.Bucket, rows bucket.Batch, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t) error {
	first, end, err := b.Append(rows, flags&C.PERSISTING_NO_WAIT != 0)
	if err != nil {
		return err
	}
	if waitNs != 0 {
		if err := waitFor(b, end, time.Duration(waitNs)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	acknowledged := b.Acknowledged()
	if acknowledged < end && flags&C.PERSISTING_NOTIFY != 0 {
		b.Notify(end)
	}
	*outFirst, *outAcknowledged = C.int64_t(first), C.int64_t(acknowledged)
	return nil
}

// appendFlags are those that all appends know.
const appendFlags = C.PERSISTING_NO_WAIT | C.PERSISTING_NOTIFY

func parseFlags(flags C.uint32_t) (noWait bool, err error) {
	return flags&C.PERSISTING_NO_WAIT != 0, checkFlags(flags, C.PERSISTING_NO_WAIT)
}

func checkFlags(flags, known C.uint32_t) error {
	if unknown := flags &^ known; unknown != 0 {
		return fmt.Errorf("%w: unknown flags %#x", errArgument, uint32(unknown))
	}
	return nil
}

// waitFor waits until rows rows are acknowledged, at most d, without limit if d
// is negative.
func waitFor(b *bucket.Bucket, rows int64, d time.Duration) error {
	if d < 0 {
		return b.Wait(context.Background(), rows)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.Wait(ctx, rows)
}

//export persistingBucketOpenRingGo
func persistingBucketOpenRingGo(id C.persisting_bucket, columns C.persisting_columns, outNext *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return beside(kindColumns, uint64(columns), func(schema *batch.MessageSchema) error {
			next, err := b.OpenRing(schema)
			if err == nil {
				*outNext = C.int64_t(next)
			}
			return err
		})
	}, arg("out_next", outNext))
}

//export persistingBucketDrainRingGo
func persistingBucketDrainRingGo(id C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		b.DrainRing()
		return nil
	})
}

//export persistingBucketAcknowledgedGo
func persistingBucketAcknowledgedGo(id C.persisting_bucket, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		*out = C.int64_t(b.Acknowledged())
		return nil
	}, arg("out_rows", out))
}

//export persistingBucketWaitGo
func persistingBucketWaitGo(id C.persisting_bucket, rows, timeoutNs C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return waitFor(b, int64(rows), time.Duration(timeoutNs))
	})
}

//export persistingBucketSetBellGo
func persistingBucketSetBellGo(id C.persisting_bucket, fd C.int32_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if fd < 0 {
			b.SetWaker(nil)
			return nil
		}
		b.SetWaker(func(rows int64, over bool) {
			number := uint64(rows)
			if over {
				number += C.PERSISTING_OVER
			}
			var text [8]byte
			binary.NativeEndian.PutUint64(text[:], number)
			// A pipe has room for all that is asked for, and a closed one wants nothing.
			_, _ = unix.Write(int(fd), text[:])
		})
		return nil
	})
}

//export persistingBucketNotifyGo
func persistingBucketNotifyGo(id C.persisting_bucket, rows C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		b.Notify(int64(rows))
		return nil
	})
}

//export persistingBucketReadGo
func persistingBucketReadGo(id C.persisting_bucket, offset, count C.int64_t, flags C.uint32_t, out *C.persisting_cursor, outVersion *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if err := checkRange(offset, count); err != nil {
			return err
		}
		if err := checkFlags(flags, C.PERSISTING_NO_WAIT|C.PERSISTING_RUN); err != nil {
			return err
		}
		read := b.Read
		if flags&C.PERSISTING_RUN != 0 {
			read = b.ReadRun
		}
		c, err := read(int64(offset), int64(count), flags&C.PERSISTING_NO_WAIT != 0)
		if err != nil {
			return err
		}
		handOut(c, out, outVersion)
		return nil
	}, arg("out_cursor", out), arg("out_schema_version", outVersion))
}

//export persistingBucketGetGo
func persistingBucketGetGo(id C.persisting_bucket, offset, count C.int64_t, out *C.struct_ArrowArray, outVersion *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		if err := checkRange(offset, count); err != nil {
			return err
		}
		rows, err := b.Get(int64(offset), int64(count))
		if err != nil {
			return err
		}
		*outVersion = C.uint64_t(rows.Version)
		exportRows(rows, out)
		return nil
	}, arg("out_array", out), arg("out_schema_version", outVersion))
}

func checkRange(offset, count C.int64_t) error {
	if offset < 0 || count < 0 {
		return fmt.Errorf("%w: offset %d and count %d must not be negative", errArgument, offset, count)
	}
	return nil
}

//export persistingBucketTakeGo
func persistingBucketTakeGo(id C.persisting_bucket, offsets *C.int64_t, count C.int64_t, flags C.uint32_t, out *C.persisting_cursor, outVersion *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		noWait, err := parseFlags(flags)
		if err != nil {
			return err
		}
		c, err := b.Take(at, noWait)
		if err != nil {
			return err
		}
		handOut(c, out, outVersion)
		return nil
	}, arg("out_cursor", out), arg("out_schema_version", outVersion))
}

func handOut(c *table.Cursor, out *C.persisting_cursor, outVersion *C.uint64_t) {
	_, version := c.Schema()
	*out = C.persisting_cursor(handles.add(kindCursor, c))
	*outVersion = C.uint64_t(version)
}

//export persistingBucketSchemaGo
func persistingBucketSchemaGo(id C.persisting_bucket, out *C.struct_ArrowSchema, outVersion *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		schema, version := b.Schema()
		exportSchema(schema, out)
		*outVersion = C.uint64_t(version)
		return nil
	}, arg("out_schema", out), arg("out_schema_version", outVersion))
}

//export persistingBucketFlushGo
func persistingBucketFlushGo(id C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, (*bucket.Bucket).Flush)
}

//export persistingBucketCompactGo
func persistingBucketCompactGo(id C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, (*bucket.Bucket).Compact)
}

//export persistingBucketStatsGo
func persistingBucketStatsGo(id C.persisting_bucket, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return toJSON(b.Stats(), out)
	}, arg("out_json", out))
}

//export persistingBucketCloseGo
func persistingBucketCloseGo(id C.persisting_bucket, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindBucket, uint64(id), (*bucket.Bucket).Close) })
}

// offsetsAt are count offsets of a caller.
func offsetsAt(offsets *C.int64_t, count C.int64_t) ([]int64, error) {
	if count < 0 || count > 0 && offsets == nil {
		return nil, fmt.Errorf("%w: offsets is NULL or count %d is negative", errArgument, count)
	}
	return unsafe.Slice((*int64)(unsafe.Pointer(offsets)), int(count)), nil
}
