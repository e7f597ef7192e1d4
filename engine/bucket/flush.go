package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/wal"
)

var background = context.Background()

// Flush moves the acknowledged rows into Lance and syncs them to disk there.
func (b *Bucket) Flush() error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.catchUp(false); err != nil {
		return err
	}
	return b.flush(true)
}

// flush is Flush, asked for by a caller or not.
func (b *Bucket) flush(asked bool) error {
	b.table.Growing.Lock()
	defer b.table.Growing.Unlock()
	if err := b.home.Fault(); err != nil {
		return err
	}
	started := time.Now()
	from, to, err := b.flushTail()
	err = lance.Advised(err)
	if errors.Is(err, engine.ErrClosed) {
		return err
	}
	if from == to && err == nil {
		return b.cutAgain(to)
	}
	if err == nil {
		b.mu.Lock()
		b.tally.oldest = started
		b.mu.Unlock()
	}
	b.endFlush(err)
	if err == nil {
		b.noteTimes(to)
	}
	b.ended(metrics.Flush, asked, started, err)
	return err
}

// cutAgain removes what the log has of flushed rows where that failed before, and appends wait for it.
func (b *Bucket) cutAgain(to int64) error {
	b.mu.Lock()
	again := b.flushErr != nil && b.log != nil && b.walBytes() >= b.opts.MaxWALBytes
	b.mu.Unlock()
	if !again {
		return nil
	}
	err := b.cutLog(to)
	b.endFlush(err)
	return err
}

// endFlush tells those who wait for the end of a flush how it went.
func (b *Bucket) endFlush(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushErr = err
	close(b.flushed)
	b.flushed = make(chan struct{})
}

// flushTail moves the rows [from, to) into the table. The caller holds b.table.Growing.
func (b *Bucket) flushTail() (from, to int64, err error) {
	if err := b.unpack(); err != nil {
		return 0, 0, err
	}
	b.mu.Lock()
	closed, promised := b.closed, b.promised
	b.mu.Unlock()
	if closed {
		return 0, 0, engine.ErrClosed
	}
	if b.log != nil {
		// The log is about to have these rows, and can be cut then. Where it fails they are acknowledged nevertheless.
		_ = b.log.Wait(background, promised)
	}
	var schema *arrow.Schema
	var chunks []chunk
	b.locked(func() {
		from, to = b.checkpoint, b.visible()
		schema = b.schema
		chunks, err = b.tail.slice(from, to)
	})
	if err != nil || from == to {
		return from, to, err
	}
	snapshot, err := b.writeTable(schema, chunks, from)
	if err != nil {
		return from, to, err
	}
	b.publish(snapshot, to)
	if b.log != nil {
		err = b.cutLog(to)
	}
	return from, to, err
}

// cutLog removes what the log has of rows that are in the table.
func (b *Bucket) cutLog(to int64) error {
	err := b.log.Cut(min(to, b.log.Acknowledged()))
	if errors.Is(err, wal.ErrFailed) {
		return b.writeError(err)
	}
	return err
}

// visible is the end of the rows that are acknowledged. The caller holds b.mu.
func (b *Bucket) visible() int64 {
	if b.log == nil {
		return b.tail.next
	}
	return min(max(b.log.Acknowledged(), b.promised), b.tail.next)
}

// writeTable appends the rows from offset from on to the table and brings them to disk. It
// takes over the references to chunks.
func (b *Bucket) writeTable(schema *arrow.Schema, chunks []chunk, from int64) (*lance.Snapshot, error) {
	batches, err := b.coalesce(schema, chunks, smallChunk)
	if err != nil {
		return nil, err
	}
	defer batch.ReleaseAll(batches)
	return b.table.Append(schema, batches, from)
}

// cast promotes a column of the table. The caller holds b.table.Growing and
// b.table.Reshaping, and all rows are in the table.
func (b *Bucket) cast(to arrow.Field) error {
	snapshot, err := b.table.Cast(to)
	if errors.Is(err, lance.ErrInexact) {
		have := batch.ColumnOf(b.schema, to.Name)
		return &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and holds values that %s cannot hold exactly", batch.TypeName(have), batch.TypeName(to))}
	}
	if err != nil || snapshot == nil {
		return err
	}
	fields := slices.Clone(b.schema.Fields())
	fields[b.schema.FieldIndices(to.Name)[0]] = to
	b.mu.Lock()
	defer b.mu.Unlock()
	b.install(snapshot, b.checkpoint)
	b.tail.evict(b.checkpoint, 0)
	b.setSchema(arrow.NewSchema(fields, nil))
	return nil
}

// publish makes a version of the table that is on disk the one that reads see.
// It takes over the reference to snapshot.
func (b *Bucket) publish(snapshot *lance.Snapshot, checkpoint int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.install(snapshot, checkpoint)
}

// install is publish for a caller that holds b.mu.
func (b *Bucket) install(snapshot *lance.Snapshot, checkpoint int64) {
	b.table.Publish(snapshot)
	b.checkpoint = max(b.checkpoint, checkpoint)
	b.unflushed = b.tail.bytesFrom(b.checkpoint)
	keep := min(b.opts.CacheBytes/2, max(b.opts.FlushBytes-b.unflushed, 0)) // where puts outrun flushes, nothing
	if b.opts.Budget.Over() {
		keep = 0
	}
	b.tail.evict(b.checkpoint, keep)
	b.account()
}

// flushLoop flushes when it is asked to and when rows have waited long enough.
func (b *Bucket) flushLoop() {
	var tick <-chan time.Time
	if b.opts.FlushInterval > 0 {
		ticker := time.NewTicker(b.opts.FlushInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-b.stop:
			return
		case <-b.kick:
		case <-tick:
		}
		if err := b.flush(false); err != nil {
			select {
			case <-b.stop:
				return
			case <-time.After(time.Second):
			}
		}
	}
}
