package bucket

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/tail"
	"github.com/persisting/persisting/engine/waker"
	"github.com/persisting/persisting/metrics"
)

// rows are what a read of the bucket sees: the rows in memory, and the version of the table that belongs to them. Its lock is held
// for no more than a look or an exchange: no disk is waited for under it.
type rows struct {
	*core
	share           *memory.Share // of the memory budget
	pages           *table.Pages  // of the table, that were read last
	waker           waker.Waker   // see Bucket.Notify
	unpackRequested chan struct{} // asks to unpack messages
	shrinkRequested chan struct{} // asks to take less memory
	changes         atomic.Uint64 // of columns, and removals that are not from the front

	mu            sync.Mutex // guards what follows, and which version of the table is published
	closed        bool
	schema        *arrow.Schema // nil for a bucket without columns
	schemaVersion uint64
	tail          tail.Tail
	checkpoint    int64 // rows below it are durably in Lance
	promised      int64 // end of the rows that came through the ring, which are acknowledged whatever the log says
	unflushed     int64 // bytes in the tail that are not in Lance
	tally         tally
	moved         chan struct{} // closed at the next append; nil when nobody waits for one
}

func newRows(c *core) *rows {
	rs := &rows{core: c, unpackRequested: make(chan struct{}, 1), shrinkRequested: make(chan struct{}, 1)}
	rs.pages = table.NewPages(rs.pageRoom)
	// The budget asks from another bucket's put, with that bucket's locks held: nothing may be done
	// about it on the spot, so the request goes to this bucket's own goroutine.
	rs.share = c.opts.Budget.Join(func() { signal(rs.shrinkRequested) })
	return rs
}

func (rs *rows) acknowledgedRows() int64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.visible()
}

// waitTail is Wait for a bucket without a log, where a row is acknowledged once it is in the tail.
func (rs *rows) waitTail(ctx context.Context, rows int64) error {
	for {
		rs.mu.Lock()
		if rs.tail.Next() >= rows {
			rs.mu.Unlock()
			return nil
		}
		// A channel for each append would cost more than the append. It is made when somebody
		// waits, and the next append closes it for all who do.
		if rs.moved == nil {
			rs.moved = make(chan struct{})
		}
		moved := rs.moved
		rs.mu.Unlock()
		select {
		case <-moved:
		case <-rs.home.Refused():
			return rs.writeFault()
		case <-rs.stop:
			return engine.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forgetRows gives back what the rows in memory take.
func (rs *rows) forgetRows() error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.tail.Clear()
	rs.pages.Close()
	rs.share.Leave()
	return nil
}

// locked calls f with rs.mu, of which a panic lets go.
func (rs *rows) locked(f func()) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	f()
}

// memoryLoop makes columns of full chunks of messages while nobody waits for it,
// and keeps to the budget.
func (rs *rows) memoryLoop() {
	for {
		select {
		case <-rs.stop:
			return
		case <-rs.shrinkRequested:
			rs.shrink()
		case <-rs.unpackRequested:
		}
		if err := rs.unpack(); err != nil {
			rs.logger.Error("messages stay packed", "error", err)
		}
	}
}

// unpack makes columns of all full chunks of messages.
func (rs *rows) unpack() error {
	for {
		rs.mu.Lock()
		c, found := rs.tail.Full()
		rs.mu.Unlock()
		if !found {
			return nil
		}
		// Without the lock, as this takes longer than a put may wait. A full chunk does not change any more, and Replace sees
		// whether it is still there.
		rec, err := c.Unpack()
		if err != nil {
			return err
		}
		rs.locked(func() { rs.tail.Replace([]tail.Chunk{c}, rec) })
		rec.Release()
	}
}

// advance is told when the rows up to end are acknowledged.
func (rs *rows) advance(end int64) {
	rs.waker.Advance(end) // first: somebody waits for it, and nobody for what follows
	var due bool
	rs.locked(func() {
		if err := rs.tail.Settle(end); err != nil {
			rs.logger.Error("small batches stay apart", "error", err)
		}
		// Counted up to end and not to the last row: a flush takes acknowledged rows alone.
		due = end-rs.checkpoint >= rs.opts.FlushRows || rs.unflushed >= rs.opts.FlushBytes || rs.crowded()
	})
	// Without the lock. The log is asked by an atomic, and a token that is there twice is one.
	if due || rs.walBytes() >= rs.opts.MaxWALBytes {
		signal(rs.flushRequested)
	}
}

// began is when a put began, now, if it is one that is timed. The caller holds ingest.appending, as all
// do who count puts.
func (rs *rows) began() (now time.Time) {
	if rs.metrics != nil && rs.tally.puts%metrics.PutSample == 0 {
		now = time.Now()
	}
	return now
}

// put puts an entry, which it takes over, into the tail, and counts it. The caller holds rs.mu.
func (rs *rows) put(e entry) {
	bytes := rs.push(e)
	rs.tally.puts++
	rs.tally.bytes += bytes
}

// push is put for an entry that is not counted, as none was put; it returns its size. The caller holds rs.mu.
func (rs *rows) push(e entry) (bytes int64) {
	if e.record != nil {
		bytes = rs.tail.Push(e.record)
	} else {
		var full bool
		if bytes, full = rs.tail.Pack(e.message.Columns, rs.schema, e.message.Bytes, e.rows); full {
			signal(rs.unpackRequested)
		}
	}
	rs.grew(bytes)
	return bytes
}

// grew takes note of an append to the tail. The caller holds rs.mu.
func (rs *rows) grew(bytes int64) {
	if rs.unflushed == 0 {
		rs.tally.oldest = time.Now()
	}
	rs.unflushed += bytes
	rs.account()
	if rs.moved != nil {
		close(rs.moved)
		rs.moved = nil
	}
}

// setSchema changes the columns of the bucket. The number lets a view, or a reader that was begun before, notice it without a
// comparison of columns. The caller holds rs.mu, and ingest.appending once the bucket is open.
func (rs *rows) setSchema(s *arrow.Schema) {
	rs.schema = s
	rs.schemaVersion++
}

// isFull is full for a caller that does not hold rs.mu.
func (rs *rows) isFull() bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.full()
}

// full says that appends have to wait for a flush. The caller holds rs.mu.
func (rs *rows) full() bool {
	// Half as much again as starts a flush: so appends go on beside one flush, and cannot outrun flushes for ever.
	return rs.unflushed >= rs.opts.FlushBytes*3/2 || rs.crowded() || rs.walBytes() >= 2*rs.opts.MaxWALBytes
}

// visible is the end of the rows that are acknowledged. The caller holds rs.mu.
func (rs *rows) visible() int64 {
	if rs.log == nil {
		return rs.tail.Next()
	}
	return min(max(rs.log.Acknowledged(), rs.promised), rs.tail.Next())
}

// publish makes a version of the table that is on disk the one that reads see.
// It takes over the reference to snapshot.
func (rs *rows) publish(snapshot *lance.Snapshot, checkpoint int64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.install(snapshot, checkpoint)
}

// install is publish for a caller that holds rs.mu.
func (rs *rows) install(snapshot *lance.Snapshot, checkpoint int64) {
	// Version, checkpoint and tail change under one lock, so that a read sees each row once: a row that has left the tail is in the
	// version that it pins.
	rs.table.Publish(snapshot)
	// Never back: a change of columns installs a version with the checkpoint that it began with.
	rs.checkpoint = max(rs.checkpoint, checkpoint)
	rs.unflushed = rs.tail.BytesFrom(rs.checkpoint)
	// Half of the cache at most is for rows as they came, the other for pages of the table: what
	// was just written is read again by those who follow, and what is older by those who come to
	// it.
	keep := min(rs.opts.CacheBytes/2, max(rs.opts.FlushBytes-rs.unflushed, 0)) // where puts outrun flushes, nothing
	if rs.opts.Budget.Over() {
		keep = 0
	}
	rs.tail.Evict(rs.checkpoint, keep)
	rs.account()
}

// replaceTable installs a version whose rows differ from those in memory, which
// takes their place.
func (rs *rows) replaceTable(snapshot *lance.Snapshot) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.install(snapshot, rs.checkpoint)
	rs.schemaVersion++
	// The number changes although the columns may not: pages and cursors of before show rows that
	// were removed.
	return rs.tail.Cut(rs.checkpoint)
}

// checkpointed is the number of rows that are in the table.
func (rs *rows) checkpointed() int64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.checkpoint
}

// account tells the budget what the bucket takes. The caller holds rs.mu.
func (rs *rows) account() { rs.share.Set(rs.tail.Bytes() + rs.pages.Bytes()) }

// crowded says that the bucket has more unflushed rows than the budget has room
// for. The caller holds rs.mu.
func (rs *rows) crowded() bool {
	return rs.opts.Budget.Over() && rs.unflushed > rs.opts.Budget.Fair()
}

// shrink gives up half of the rows that are in memory and in Lance as well, and
// asks for a flush where that does not help.
func (rs *rows) shrink() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	// Half and not all, as the budget asks again while it is over: several buckets are asked at
	// once, and together would give up more than was wanted.
	rs.tail.Evict(rs.checkpoint, (rs.tail.Bytes()-rs.tail.BytesFrom(rs.checkpoint))/2)
	rs.pages.Shrink(rs.pages.Bytes() / 2)
	rs.account()
	if rs.crowded() {
		signal(rs.flushRequested)
	}
}

// tally is what the metrics know of appends. The lock of rows guards it.
type tally struct {
	puts, bytes int64
	oldest      time.Time // when the oldest row came that is not in Lance, if there is one
}

// pageRoom is how many bytes of pages of the table may be kept: what the rows in memory leave of the cache, and half of it at least.
func (rs *rows) pageRoom() int64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return max(rs.opts.CacheBytes/2, rs.opts.CacheBytes-rs.tail.Bytes())
}
