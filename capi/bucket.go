package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"golang.org/x/sys/unix"
)

// #include "shim.h"
import "C"

var (
	bucketAcknowledged   = succeeds((*bucket.Bucket).Acknowledged)
	bucketClose          = (*bucket.Bucket).Close
	bucketCommit         = (*bucket.Bucket).Commit
	bucketCompact        = (*bucket.Bucket).Compact
	bucketConsumers      = (*bucket.Bucket).Consumers
	bucketDelete         = (*bucket.Bucket).Delete
	bucketFirstFrom      = (*bucket.Bucket).FirstFrom
	bucketFlush          = (*bucket.Bucket).Flush
	bucketOpenRing       = (*bucket.Bucket).OpenRing
	bucketRenew          = (*bucket.Bucket).Renew
	bucketRestore        = (*bucket.Bucket).Restore
	bucketStats          = succeeds((*bucket.Bucket).Stats)
	bucketTag            = (*bucket.Bucket).Tag
	bucketTruncateBefore = (*bucket.Bucket).TruncateBefore
	bucketUntag          = (*bucket.Bucket).Untag
	bucketVersions       = (*bucket.Bucket).Versions
)

func bucketOpen(dir string, chosen []byte) (*bucket.Bucket, error) {
	o, err := options.Parse(chosen)
	if err != nil {
		return nil, err
	}
	o.Metrics, o.Logger, o.Budget = buckets, messages.Logger("engine"), budget
	return bucket.Open(dir, o)
}

func bucketOpenReadOnly(dir string) (*bucket.Bucket, error) {
	o := options.Default()
	o.Logger, o.Budget = messages.Logger("engine"), budget
	return bucket.OpenReadOnly(dir, o)
}

//export persistingBucketAppendGo
func persistingBucketAppendGo(id C.persisting_bucket, a *C.struct_ArrowArray, s *C.struct_ArrowSchema, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		return with(kindBucket, uint64(id), func(b *bucket.Bucket) error {
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
		})
	})
}

//export persistingBucketAppendMessageGo
func persistingBucketAppendMessageGo(id C.persisting_bucket, columns C.persisting_columns, message unsafe.Pointer, size C.int64_t, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		return with(kindBucket, uint64(id), func(b *bucket.Bucket) error {
			if size < 0 || size > math.MaxInt32 {
				return fmt.Errorf("%w: size %d, want 0 to %d", errArgument, size, math.MaxInt32)
			}
			return beside(kindColumns, uint64(columns), func(schema *batch.MessageSchema) error {
				rows := bucket.Message{Columns: schema, Bytes: unsafe.Slice((*byte)(message), int(size))}
				return put(b, rows, flags, waitNs, outFirst, outAcknowledged)
			})
		})
	})
}

// put appends a batch, waits for the acknowledgement as its caller wants it, and
// tells where the rows are.
func put(b *bucket.Bucket, rows bucket.Batch, flags C.uint32_t, waitNs C.int64_t, outFirst, outAcknowledged *C.int64_t) error {
	first, end, err := b.Append(rows, flags&C.PERSISTING_NO_WAIT != 0)
	if err != nil {
		return err
	}
	if waitNs != 0 {
		// A time that is up is no error of the put: the rows are there, and the caller sees by the
		// number that they are not acknowledged yet.
		if err := bucketWait(b, end, int64(waitNs)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	acknowledged := b.Acknowledged()
	// Only where it has to wait: a caller whose rows are acknowledged by now looks at the number,
	// and at no descriptor.
	if acknowledged < end && flags&C.PERSISTING_NOTIFY != 0 {
		b.Notify(end)
	}
	*outFirst, *outAcknowledged = C.int64_t(first), C.int64_t(acknowledged)
	return nil
}

func bucketWait(b *bucket.Bucket, rows, timeoutNs int64) error {
	if timeoutNs < 0 {
		return b.Wait(context.Background(), rows)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(timeoutNs))
	defer cancel()
	return b.Wait(ctx, rows)
}

func bucketDrainRing(b *bucket.Bucket) error {
	b.DrainRing()
	return nil
}

func bucketNotify(b *bucket.Bucket, rows int64) error {
	b.Notify(rows)
	return nil
}

func bucketSetBell(b *bucket.Bucket, fd int32) error {
	if fd < 0 {
		b.SetWaker(nil)
		return nil
	}
	b.SetWaker(func(rows int64, over bool) {
		number := uint64(rows)
		if over {
			number += C.PERSISTING_OVER
		}
		ring(fd, number)
	})
	return nil
}

// ring writes a number to a descriptor. A pipe has room for all that is asked for, an
// eventfd takes more than there is to tell, and a closed one wants nothing.
func ring(fd int32, number uint64) {
	var text [8]byte
	binary.NativeEndian.PutUint64(text[:], number)
	// Eight bytes, which a pipe takes as a whole or not at all.
	_, _ = unix.Write(int(fd), text[:])
}

func bucketRead(b *bucket.Bucket, offset, count int64, noWait, run bool) (*table.Cursor, uint64, error) {
	if err := checkRange(offset, count); err != nil {
		return nil, 0, err
	}
	read := b.Read
	if run {
		read = b.ReadRun
	}
	return versioned(read(offset, count, noWait))
}

func checkRange(offset, count int64) error {
	if offset < 0 || count < 0 {
		return fmt.Errorf("%w: offset %d and count %d must not be negative", errArgument, offset, count)
	}
	return nil
}

func bucketTake(b *bucket.Bucket, offsets []int64, noWait bool) (*table.Cursor, uint64, error) {
	return versioned(b.Take(offsets, noWait))
}

// versioned adds the version of its schema to a cursor.
func versioned(c *table.Cursor, err error) (*table.Cursor, uint64, error) {
	if err != nil {
		return nil, 0, err
	}
	_, version := c.Schema()
	return c, version, nil
}

//export persistingBucketGetGo
func persistingBucketGetGo(id C.persisting_bucket, offset, count C.int64_t, out *C.struct_ArrowArray, outVersion *C.uint64_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		return with(kindBucket, uint64(id), func(b *bucket.Bucket) error {
			if err := checkRange(int64(offset), int64(count)); err != nil {
				return err
			}
			rows, err := b.Get(int64(offset), int64(count))
			if err != nil {
				return err
			}
			*outVersion = C.uint64_t(rows.Version)
			exportRows(rows, out)
			return nil
		})
	})
}

func bucketSchema(b *bucket.Bucket) (*arrow.Schema, uint64, error) {
	schema, version := b.Schema()
	return schema, version, nil
}
