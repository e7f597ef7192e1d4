package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

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
	bucketCheck          = (*bucket.Bucket).Check
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
	bucketSchema         = succeedsBoth((*bucket.Bucket).Schema)
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

// bucketOpenReadOnly has no options: what an owner chose, or will choose, is not for a reader to say. It has no
// metrics either: the owner counts.
func bucketOpenReadOnly(dir string) (*bucket.Bucket, error) {
	o := options.Default()
	o.Logger, o.Budget = messages.Logger("engine"), budget
	return bucket.OpenReadOnly(dir, o)
}

func bucketAppend(b *bucket.Bucket, rec arrow.Record, noWait, notify, checked bool, waitNs int64) (first, acknowledged int64, err error) {
	return put(b, bucket.Record{Rows: rec, Checked: checked}, noWait, notify, waitNs)
}

func bucketAppendMessage(b *bucket.Bucket, columns *batch.MessageSchema, message []byte, noWait, notify bool, waitNs int64) (first, acknowledged int64, err error) {
	if len(message) > math.MaxInt32 {
		return 0, 0, fmt.Errorf("%w: size %d, want 0 to %d", errArgument, len(message), math.MaxInt32)
	}
	return put(b, bucket.Message{Columns: columns, Bytes: message}, noWait, notify, waitNs)
}

// put appends a batch, waits for the acknowledgement as its caller wants it, and
// tells where the rows are.
func put(b *bucket.Bucket, rows bucket.Batch, noWait, notify bool, waitNs int64) (first, acknowledged int64, err error) {
	first, end, err := b.Append(rows, noWait)
	if err != nil {
		return 0, 0, err
	}
	if waitNs != 0 {
		// A time that is up is no error of the put: the rows are there, and the caller sees by the
		// number that they are not acknowledged yet.
		if err := bucketWait(b, end, waitNs); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return 0, 0, err
		}
	}
	acknowledged = b.AcknowledgedHere()
	// Only where it has to wait: a caller whose rows are acknowledged by now looks at the number,
	// and at no descriptor.
	if acknowledged < end && notify {
		b.Notify(end)
	}
	return first, acknowledged, nil
}

// bucketWait takes a time below zero for none, as C has no context that nobody ends.
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

func bucketSetWaker(b *bucket.Bucket, fd int32) error {
	if fd < 0 {
		b.SetWaker(nil)
		return nil
	}
	b.SetWaker(func(rows int64, over bool) {
		number := uint64(rows)
		if over {
			number += C.PERSISTING_OVER
		}
		wake(fd, number)
	})
	return nil
}

// wake writes a number to a descriptor. A pipe has room for all that is asked for, an
// eventfd takes more than there is to tell, and a closed one wants nothing.
func wake(fd int32, number uint64) {
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

// checkRange refuses what no read can mean. An end beyond the rows is no fault: who follows a bucket asks for more than there is.
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

func bucketGet(b *bucket.Bucket, offset, count int64, out *C.struct_ArrowArray) (uint64, error) {
	if err := checkRange(offset, count); err != nil {
		return 0, err
	}
	rows, err := b.Get(offset, count)
	if err != nil {
		return 0, err
	}
	exportRows(rows, out)
	return rows.Version, nil
}
