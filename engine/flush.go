package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"golang.org/x/sync/errgroup"
)

var background = context.Background()

// syncsAtOnce is how many files and directories of the table are brought to disk at
// the same time: fewer than the descriptors that are spared for what has begun.
const syncsAtOnce = 7

// Flush moves the acknowledged rows into Lance and syncs them to disk there.
func (b *Bucket) Flush() error {
	if b.closing.Load() {
		return ErrClosed
	}
	if err := b.catchUp(false); err != nil {
		return err
	}
	return b.flush(true)
}

// flush is Flush, asked for by a caller or not.
func (b *Bucket) flush(asked bool) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	if cause := b.poison.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrPoisoned, *cause)
	}
	started := time.Now()
	from, to, err := b.flushTail()
	err = Advised(err)
	if errors.Is(err, ErrClosed) {
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

// flushTail moves the rows [from, to) into the table. The caller holds b.flushing.
func (b *Bucket) flushTail() (from, to int64, err error) {
	if err := b.unpack(); err != nil {
		return 0, 0, err
	}
	b.mu.Lock()
	closed, promised := b.closed, b.promised
	b.mu.Unlock()
	if closed {
		return 0, 0, ErrClosed
	}
	if b.log != nil {
		// The log is about to have these rows, and can be cut then. Where it fails they are acknowledged nevertheless.
		_ = b.log.Wait(background, promised)
	}
	var schema *arrow.Schema
	var failed bool
	var chunks []chunk
	b.locked(func() {
		from, to = b.checkpoint, b.visible()
		schema, failed = b.schema, b.flushErr != nil
		chunks, err = b.tail.slice(from, to)
	})
	if err != nil || from == to {
		return from, to, err
	}
	snapshot, err := b.writeTable(schema, chunks, from, to, failed)
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

// change makes a new version of the table, announced before, brings it to disk
// and notes it in the mark. A failure to do so poisons the bucket.
func (b *Bucket) change(do func() (*lance.Snapshot, error)) (*lance.Snapshot, error) {
	if err := spare(); err != nil {
		return nil, err
	}
	ticket, err := b.mark.begin()
	if err != nil {
		return nil, b.poisonWith(err)
	}
	if err := b.owned(); err != nil {
		b.mark.fail()
		return nil, err
	}
	after, err := b.written(do)
	if err != nil {
		b.mark.fail()
		return nil, err
	}
	// Of two changes at the same time one may bring the files of both to disk.
	// Where that fails, a second sync must not tell the other that all is well.
	b.syncing.Lock()
	defer b.syncing.Unlock()
	before := b.newest()
	if before != nil {
		defer before.Release()
	}
	var manifest fileSum
	if cause := b.poison.Load(); cause != nil {
		err = *cause
	} else if before == nil || after.Version() != before.Version() {
		manifest, err = b.syncTable(before, after, true)
	}
	if err == nil {
		// Reads that may not wait find what was removed in memory.
		_, _, _, err = after.Place(0)
	}
	if err == nil {
		err = b.mark.end(ticket, after.Version(), manifest, after.NextRowID())
	}
	if err != nil { // the mark stays as it is: what is above it is void
		after.Release()
		return nil, b.poisonWith(err)
	}
	return after, nil
}

// written calls do while the disk writes what it makes.
func (b *Bucket) written(do func() (*lance.Snapshot, error)) (*lance.Snapshot, error) {
	defer b.writeback()()
	return do()
}

// newest returns the newest version of the table that is on disk, retained, or
// nil.
func (b *Bucket) newest() *lance.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.snapshot != nil {
		b.snapshot.Retain()
	}
	return b.snapshot
}

// writeTable appends the rows [from, to) to the table and brings them to disk. It
// takes over the references to chunks.
func (b *Bucket) writeTable(schema *arrow.Schema, chunks []chunk, from, to int64, retry bool) (*lance.Snapshot, error) {
	batches, err := b.coalesce(schema, chunks, smallChunk)
	if err != nil {
		return nil, err
	}
	defer releaseAll(batches)
	return b.change(func() (*lance.Snapshot, error) {
		snapshot, err := b.appendTable(schema, batches, from, retry)
		if err != nil {
			return nil, err
		}
		if next := snapshot.NextRowID(); next != to {
			snapshot.Release()
			return nil, b.poisonWith(fmt.Errorf("%w: rows %d to %d ended at row id %d", ErrCorrupt, from, to, next))
		}
		return snapshot, nil
	})
}

// appendTable appends batches to the table, which it makes with them if there is
// none.
func (b *Bucket) appendTable(schema *arrow.Schema, batches []arrow.Record, from int64, retry bool) (*lance.Snapshot, error) {
	if b.table == nil {
		return b.createTable(schema, batches...)
	}
	if err := b.widenTable(schema, from, retry); err != nil {
		return nil, err
	}
	snapshot, err := b.table.Append(batches)
	if err != nil {
		err = fmt.Errorf("engine: append to table: %w", err)
	}
	return snapshot, err
}

func (b *Bucket) createTable(schema *arrow.Schema, batches ...arrow.Record) (*lance.Snapshot, error) {
	table, err := lance.Create(b.tablePath(), schema, b.tableConfig(), batches...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine: create table: %w", err), b.discardTable())
	}
	b.mu.Lock()
	b.table = table
	b.mu.Unlock()
	return table.Snapshot()
}

// discardTable takes away what there is of a table whose making has failed, so that
// it can be made anew.
func (b *Bucket) discardTable() error {
	if err := b.owned(); err != nil {
		return err
	}
	_, err := lance.Discard(b.tablePath())
	return err
}

// widenTable sees to it that the table has the columns and the metadata of schema and, after a
// flush that failed, that it ends where this one begins.
func (b *Bucket) widenTable(schema *arrow.Schema, from int64, retry bool) error {
	current, err := b.table.Snapshot()
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	defer current.Release()
	if next := current.NextRowID(); retry && next != from {
		return b.poisonWith(fmt.Errorf("%w: the table ends at row id %d after a flush that failed, want %d", ErrCorrupt, next, from))
	}
	var missing []arrow.Field
	for _, f := range schema.Fields() {
		if !current.Schema().HasField(f.Name) {
			missing = append(missing, f)
		}
	}
	metadata := lance.MissingMetadata(current.Schema().Metadata(), schema.Metadata())
	if len(missing) == 0 && metadata.Len() == 0 {
		return nil
	}
	widened, err := b.table.AddColumns(missing, metadata)
	if err != nil {
		return fmt.Errorf("engine: add columns to table: %w", err)
	}
	widened.Release()
	return nil
}

// cast promotes a column of the table. The caller holds b.flushing and
// b.compacting, and all rows are in the table.
func (b *Bucket) cast(to arrow.Field) error {
	if b.table == nil || !b.snapshot.Schema().HasField(to.Name) {
		return nil
	}
	snapshot, err := b.change(func() (*lance.Snapshot, error) {
		snapshot, err := b.table.CastColumn(to.Name, to)
		if err != nil {
			err = fmt.Errorf("engine: promote column %q: %w", to.Name, err)
		}
		return snapshot, err
	})
	if errors.Is(err, lance.ErrInexact) {
		have := columnOf(b.schema, to.Name)
		return &SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and holds values that %s cannot hold exactly", typeName(have), typeName(to))}
	}
	if err != nil {
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
	if b.snapshot == nil || snapshot.Version() > b.snapshot.Version() {
		b.snapshot, snapshot = snapshot, b.snapshot
		signal(b.tidy)
	}
	if snapshot != nil {
		snapshot.Release()
	}
	b.checkpoint = max(b.checkpoint, checkpoint)
	b.unflushed = b.tail.bytesFrom(b.checkpoint)
	keep := min(b.opts.CacheBytes/2, max(b.opts.FlushBytes-b.unflushed, 0)) // where puts outrun flushes, nothing
	if b.opts.Budget.Over() {
		keep = 0
	}
	b.tail.evict(b.checkpoint, keep)
	b.account()
}

// syncTable brings to disk the files of the version after that before, which
// may be nil, has not, and then the directories that name them. Sums are noted of
// those that are fresh, so that they are not those of damage; that of the manifest
// is returned.
func (b *Bucket) syncTable(before, after *lance.Snapshot, fresh bool) (manifest fileSum, err error) {
	files, err := lance.ChangedFiles(before, after)
	if err != nil {
		return fileSum{}, fmt.Errorf("engine: list files of table: %w", err)
	}
	if !fresh {
		return fileSum{}, b.syncFiles(files, before == nil)
	}
	var lines []byte
	var unread error
	summed := make(chan struct{})
	go func() { // while the disk is busy
		defer close(summed)
		defer b.breaking(&unread)
		lines, manifest, unread = b.sums.of(files)
	}()
	err = b.syncFiles(files, before == nil)
	<-summed
	switch {
	case err != nil:
		return fileSum{}, err
	case unread != nil:
		return fileSum{}, fmt.Errorf("engine: read what was written to the table: %w", unread)
	}
	if err := b.sums.add(lines); err != nil { // nobody needs them but a verification
		b.logger.Warn("checksums of files of the table were not noted", "error", err)
	}
	return manifest, nil
}

// syncFiles brings files of the table to disk, and the directories that name them,
// that of the bucket as well where the table is new. They go there in any order, as
// table.mark says until the end that some may be missing, and several at once, as one
// commit of the file system's journal then serves many: with one after the other, a
// put and a flush took 15 to 22 ms on a busy machine, and take 11 to 14 (of that the
// syncs 6 to 8, and 3.5 to 4.5).
func (b *Bucket) syncFiles(files []string, isNew bool) error {
	dirs := []string{}
	var syncs errgroup.Group
	syncs.SetLimit(syncsAtOnce)
	sync := func(what func() error) {
		syncs.Go(func() (err error) {
			defer b.breaking(&err)
			return what()
		})
	}
	for _, f := range files {
		path := filepath.Join(b.tablePath(), f)
		sync(func() error { return b.syncFile(path) })
		for dir := filepath.Dir(path); len(dir) > len(b.dir); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	if isNew {
		dirs = append(dirs, b.dir)
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		sync(func() error { return b.opts.FS.SyncDir(dir) })
	}
	if err := syncs.Wait(); err != nil {
		return fmt.Errorf("engine: sync table: %w", err)
	}
	return nil
}

// syncFile brings a file of the table to disk, and counts its bytes.
func (b *Bucket) syncFile(path string) error {
	err := vfs.SyncFile(b.opts.FS, path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(filepath.Dir(path)) == "_transactions" {
		return nil // nobody reads it, and Heal does not ask for it
	}
	if err != nil {
		return err
	}
	b.countFile(path)
	return nil
}

// countFile counts the bytes of a file that was written.
func (b *Bucket) countFile(path string) {
	if b.metrics == nil {
		return
	}
	if info, err := b.opts.FS.Stat(path); err == nil {
		b.metrics.TableWrote(info.Size)
	}
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
