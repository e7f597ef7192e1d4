package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tail"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// follower keeps the rows of a bucket that is open for reading up with what another process does to it; the package
// comment says how.
type follower struct {
	*core
	rows *rows

	mu      sync.Mutex // held for a look; rows.mu comes after it
	log     *wal.Follower
	begun   bool // the log was read from its beginning
	mark    table.Mark
	decoder batch.Decoder
	fresh   []survivors // of the log, that are not in rows yet
	anew    bool        // these are all rows of the log
	logged  int64       // end of the rows in memory that are in the log
	stamp   ring.Stamp

	joining sync.Mutex // held while a version for queries is made
	whole   *joined    // nil where there is none; joining guards it
}

// joined is a version of the table that has the rows in memory as well, for queries.
type joined struct {
	snapshot *lance.Snapshot
	version  uint64 // of the table; 0: none
	end      int64
	schema   *arrow.Schema
}

const (
	// followTries and followPause are how often, and after how long, a look that failed is taken again.
	followTries = 8
	followPause = 5 * time.Millisecond

	// followNow is how much of the log is read by who may not wait.
	followNow = 64 << 10

	// waitInterval is how long a row may be there before one who waits for it sees it.
	waitInterval = 10 * time.Millisecond
)

// begin finds what is there.
func (f *follower) begin() (err error) {
	defer engine.Contain(&err)
	f.table = table.Watch(f.home, f.tableOptions())
	if f.id, err = layout.ReadIdentity(f.home.FS, f.identityPath()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is not there: %w", engine.ErrCorrupt, f.identityPath(), err)
	}
	if err != nil {
		return err
	}
	// With the identity of the bucket, so that a log that was put into its directory is told from
	// its own.
	f.log = wal.Follow(wal.Options{Dir: f.walPath(), FS: f.home.FS, Bucket: f.id, MaxEntryBytes: batch.MaxBytes})
	return f.catchUp(false)
}

// catchUp brings in what was acknowledged before it was called. With noWait the error is [engine.ErrWouldBlock] where that takes
// more than a look.
func (f *follower) catchUp(noWait bool) error {
	if !noWait {
		f.mu.Lock()
	} else if !f.mu.TryLock() {
		return engine.ErrWouldBlock
	}
	defer f.mu.Unlock()
	if f.closing.Load() {
		return engine.ErrClosed
	}
	for try := 1; ; try++ {
		err := f.look(noWait)
		switch {
		case err == nil || errors.Is(err, engine.ErrWouldBlock):
			return err
		// A look that failed may be due to the owner, and to find out takes time.
		case noWait:
			return engine.ErrWouldBlock
		case try == followTries:
			return err
		}
		time.Sleep(followPause)
	}
}

// look brings in what is there now. The caller holds f.mu.
func (f *follower) look(noWait bool) error {
	mark, err := f.readMark()
	if err != nil {
		return err
	}
	var newest *lance.Snapshot
	if mark.Sequence != f.mark.Sequence || !f.begun {
		if noWait {
			return engine.ErrWouldBlock
		}
		if newest, err = f.table.LookAgain(); err != nil {
			return err
		}
	}
	taken := false
	defer func() {
		if newest != nil && !taken {
			newest.Release()
		}
	}()
	// The ring before the log: a row goes the other way, and would be in neither if it went between
	// the two looks.
	puts, stamp, err := f.peek()
	if err != nil {
		return err
	}
	if err := f.readLog(f.next(newest), mark, noWait); err != nil {
		return err
	}
	// The mark once more, at the end: see the package comment.
	after, err := f.readMark()
	if err == nil && (after.Version != mark.Version || after.Rows != mark.Rows || after.Logging != mark.Logging) {
		err = table.ErrMoved
	}
	if err != nil {
		return err
	}
	// Nothing has changed: no lock that reads take, and no comparison of columns. Most looks end
	// here.
	if newest == nil && len(f.fresh) == 0 && !f.anew && stamp == f.stamp {
		f.mark = mark
		return nil
	}
	taken = true // whatever comes of it
	if err := f.take(newest, puts, mark); err != nil {
		return err
	}
	f.mark, f.stamp = mark, stamp
	return nil
}

// readMark reads the mark of the table, and refuses that of another bucket.
func (f *follower) readMark() (table.Mark, error) {
	m, err := table.ReadMarker(f.home.FS, f.home.Path)
	if err != nil {
		return table.Mark{}, err
	}
	mark := m.Mark()
	// The sequence only grows, unless the file is another bucket's, or was put back by a repair.
	if mark.Sequence < f.mark.Sequence {
		return mark, fmt.Errorf("%w: %s", engine.ErrDisowned, f.home.Path)
	}
	return mark, nil
}

// next is the number of rows that the newest version of the table has.
func (f *follower) next(newest *lance.Snapshot) int64 {
	if newest != nil {
		return newest.NextRowID()
	}
	return f.rows.checkpointed()
}

// peek returns what is in the ring, if that is not what was there before.
func (f *follower) peek() (ring.Saved, ring.Stamp, error) {
	puts, stamp, err := ring.Peek(f.ringPath(), f.id, f.stamp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ring.Saved{}, ring.Stamp{}, nil
	case errors.Is(err, ring.ErrDamaged):
		err = fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, f.ringPath(), err)
	case err != nil:
		err = fmt.Errorf("engine: read puts: %w", err)
	}
	return puts, stamp, err
}

// readLog adds to f.fresh what the log has behind what was read of it, or all of it behind a table of so many rows.
func (f *follower) readLog(next int64, mark table.Mark, noWait bool) error {
	limit := int64(-1)
	if noWait {
		limit = followNow
	}
	// What comes behind the last record that was read, if that is still there: the usual case, and
	// one read.
	if f.begun {
		same, more, err := f.log.More(limit, f.keep)
		switch {
		case err != nil:
			f.begun = false // what it gave may not be all
			return fmt.Errorf("engine: read log: %w", err)
		case same && more:
			return engine.ErrWouldBlock
		case same:
			return nil
		}
		f.begun = false
	}
	if noWait {
		return engine.ErrWouldBlock
	}
	f.forget()
	f.anew = true
	report, err := f.log.Begin(next, f.keep)
	if err == nil && mark.Logging && report.Segments == 0 {
		err = fmt.Errorf("%w: there is no segment in %s: the rows from %d on, if there were any, are lost", segment.ErrCorrupt, f.walPath(), next)
	}
	same := true
	if err == nil { // what came while the rest was read
		same, _, err = f.log.More(-1, f.keep)
	}
	if err != nil {
		return fmt.Errorf("engine: open log: %w", err)
	}
	if !same {
		return table.ErrMoved
	}
	f.begun = true
	return nil
}

// keep decodes an entry of the log.
func (f *follower) keep(e segment.Entry) error {
	rec, err := decodeEntry(&f.decoder, e)
	if err == nil {
		f.fresh = append(f.fresh, survivors{e.First, rec})
	}
	return err
}

func (f *follower) forget() {
	for _, r := range f.fresh {
		r.rec.Release()
	}
	f.fresh = nil
}

// take has reads see a version of the table, if there is a newer one, what is fresh of the log, and the puts that follow. It takes over
// the reference to newest. All of it is seen at once.
func (f *follower) take(newest *lance.Snapshot, puts ring.Saved, mark table.Mark) error {
	rs := f.rows
	rs.mu.Lock()
	defer rs.mu.Unlock()
	// The version first: it says up to where rows are in the table, and which columns they have.
	changed := f.renew(newest)
	// What was taken out of the ring is dropped and read again: once it is in the log, it comes
	// from there, and what is still in the ring is given with every look.
	from := f.logged
	if f.anew {
		from = rs.checkpoint
	}
	from = max(from, rs.checkpoint)
	if err := errors.Join(rs.tail.Cut(rs.checkpoint), rs.tail.Trim(from)); err != nil {
		return err
	}
	// Ahead of what was in memory, where the table has got rows that this reader has never seen.
	rs.tail.ContinueAt(from)
	if changed {
		if err := f.keepColumns(); err != nil {
			return err
		}
	}
	defer func() {
		rs.unflushed = rs.tail.Bytes()
		rs.account()
	}()
	for len(f.fresh) > 0 {
		if err := f.push(f.fresh[0]); err != nil {
			f.begun = false // so that the log is read again
			return err
		}
		f.fresh[0].rec.Release()
		f.fresh = f.fresh[1:]
	}
	f.anew = false
	// Rows of the ring come behind this, and are read again from the log once they are there.
	f.logged = rs.tail.Next()
	if err := f.pushPuts(puts); err != nil {
		return err
	}
	// The bucket never had fewer rows than its mark says, whatever else is missing.
	if rs.tail.Next() < mark.Rows {
		return fmt.Errorf("%w: the rows %d to %d were in the table, and are neither there nor in the log", engine.ErrCorrupt, rs.tail.Next(), mark.Rows-1)
	}
	return nil
}

// renew has reads see a version of the table, if there is a newer one, and says whether that changed the columns. The caller holds
// rows.mu.
func (f *follower) renew(newest *lance.Snapshot) (changed bool) {
	if newest == nil {
		return false
	}
	rs := f.rows
	before := rs.table.Newest()
	// By the rows and the columns and not by the number: most versions are flushes and compactions,
	// after which every page that was read is still right.
	if changed = before == nil || !table.Same(before, newest); changed {
		rs.setSchema(newest.Schema()) // with another number, under which no page is kept
	}
	if before != nil {
		before.Release()
	}
	rs.checkpoint = newest.NextRowID()
	rs.table.Publish(newest)
	return changed
}

// keepColumns adds those that rows in memory have and the table has not. The caller holds rows.mu.
func (f *follower) keepColumns() error {
	var seen *arrow.Schema
	for _, c := range f.rows.tail.Chunks() {
		if c.Record.Schema() == seen {
			continue
		}
		seen = c.Record.Schema()
		if err := f.admit(seen, c.First); err != nil {
			return err
		}
	}
	return nil
}

// admit adds the columns of rows of the log. The caller holds rows.mu.
func (f *follower) admit(schema *arrow.Schema, offset int64) error {
	rs := f.rows
	if rs.schema != nil && batch.SameColumns(schema, rs.schema) {
		return nil
	}
	c, err := batch.Unify(rs.schema, schema)
	if err == nil && c.Schema == nil {
		err = batch.NoColumn()
	}
	if err != nil {
		return fmt.Errorf("%w: log entry at offset %d: %w", engine.ErrCorrupt, offset, err)
	}
	if !c.None() {
		rs.setSchema(c.Schema)
	}
	return nil
}

// push puts rows of the log, which may be in the table by now, behind those in memory. The caller holds rows.mu.
func (f *follower) push(r survivors) error {
	rs := f.rows
	switch hole := r.first - rs.tail.Next(); {
	case r.first+r.rec.NumRows() <= rs.tail.Next():
		return nil
	case hole > 0:
		return fmt.Errorf("%w: the log lacks the %d rows from offset %d on", engine.ErrCorrupt, hole, rs.tail.Next())
	// A flush has taken a part of the entry.
	case hole < 0:
		part := r.rec.NewSlice(-hole, r.rec.NumRows())
		defer part.Release()
		r = survivors{rs.tail.Next(), part}
	}
	if err := f.admit(r.rec.Schema(), r.first); err != nil {
		return err
	}
	aligned, err := batch.Align(r.rec, rs.schema)
	if err != nil {
		return fmt.Errorf("%w: log entry at offset %d: %w", engine.ErrCorrupt, r.first, err)
	}
	rs.tail.Push(aligned)
	return rs.tail.Settle(rs.tail.Next())
}

// pushPuts is push for what is in the ring. Without a log these rows are in the memory of another process by the next moment. The
// caller holds rows.mu.
func (f *follower) pushPuts(puts ring.Saved) error {
	if !puts.Logged {
		return nil
	}
	// Behind the log's last row: what the log has by now is in the ring as well until its space is
	// freed.
	entries, err := puts.Following(f.rows.tail.Next())
	if err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, f.ringPath(), err)
	}
	var d batch.Decoder
	defer d.Close()
	for _, e := range entries {
		rec, err := decodeEntry(&d, segment.Entry{First: e.First, Rows: e.Rows, Preamble: puts.Preamble, Body: e.Message})
		if err != nil {
			return err
		}
		err = f.push(survivors{e.First, rec})
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// queried returns the newest version of the table with the rows in memory behind it, retained; nil where there are no rows.
func (f *follower) queried(noWait bool) (*lance.Snapshot, error) {
	if !noWait {
		f.joining.Lock()
	} else if !f.joining.TryLock() {
		return nil, engine.ErrWouldBlock
	}
	defer f.joining.Unlock()
	if f.closing.Load() {
		return nil, engine.ErrClosed
	}
	var chunks []tail.Chunk
	var err error
	now := joined{}
	f.rows.locked(func() {
		now.end, now.schema = f.rows.tail.Next(), f.rows.schema
		now.snapshot = f.table.Newest()
		chunks, err = f.rows.tail.Slice(f.rows.checkpoint, now.end)
	})
	// All of one moment; what comes after is for the next query.
	newest := now.snapshot
	if newest != nil {
		now.version = newest.Version()
	}
	if err != nil || len(chunks) == 0 {
		return newest, err
	}
	if newest != nil {
		defer newest.Release()
	}
	// The same for all queries until something comes: to make it reads all that is in memory.
	if w := f.whole; w != nil && w.version == now.version && w.end == now.end && w.schema == now.schema {
		tail.Release(chunks)
		w.snapshot.Retain()
		return w.snapshot, nil
	}
	if noWait {
		tail.Release(chunks)
		return nil, engine.ErrWouldBlock
	}
	batches, err := f.rows.coalesce(now.schema, chunks, smallChunk)
	if err != nil {
		return nil, err
	}
	defer batch.ReleaseAll(batches)
	if now.snapshot, err = f.table.Joined(newest, now.schema, batches); err != nil {
		return nil, err
	}
	f.drop()
	f.whole = &now
	now.snapshot.Retain()
	return now.snapshot, nil
}

// wait waits until rows rows are acknowledged, or ctx is done. Nobody tells it: it looks every few milliseconds.
func (f *follower) wait(ctx context.Context, rows int64) error {
	for {
		if err := f.catchUp(false); err != nil {
			return err
		}
		if f.rows.acknowledgedRows() >= rows {
			return nil
		}
		select {
		case <-time.After(waitInterval):
		case <-f.stop:
			return engine.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drop lets go of the version for queries. The caller holds f.joining.
func (f *follower) drop() {
	if f.whole != nil {
		f.whole.snapshot.Release()
		f.whole = nil
	}
}

// close lets go of what the follower has.
func (f *follower) close() {
	f.joining.Lock()
	defer f.joining.Unlock()
	f.drop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	f.decoder.Close()
}

// consumers reads the offsets that consumers committed.
func (f *follower) consumers() (map[string]int64, error) {
	m, err := table.ReadMarker(f.home.FS, f.home.Path)
	if err != nil {
		return nil, err
	}
	return layout.Consumers(vfs.ReadOnly(f.opts.FS), f.home.Path, m).All()
}

// logging says whether the bucket has a log, and how much of it there is.
func (f *follower) logging() (there bool, bytes int64, segments int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bytes, segments = f.log.Size()
	return f.mark.Logging || exists(f.walPath()), bytes, segments
}
