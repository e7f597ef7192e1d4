package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// smallPiece is the size below which a piece of a body is copied by Append.
const smallPiece = 4 << 10

// Log is an open write-ahead log. All methods may be called at the same time.
type Log struct {
	o Options

	mu       sync.Mutex
	wake     sync.Cond // the writer sleeps here while idle is true
	idle     bool
	queue    *queue // what the writer takes next
	appended int64
	preamble []byte // of the last appended entry
	waiters  []*waiter
	err      error // ErrFailed with the cause
	closing  bool  // Close was called
	ended    bool  // the writer is done

	acked atomic.Int64
	seen  atomic.Int64 // appended, for those who do not hold mu
	size  atomic.Int64

	listMu   sync.Mutex // held briefly
	segments []*segment // oldest first
	cutMu    sync.Mutex // one Cut at a time

	syncMu sync.Mutex // held while active is synced or replaced
	active *segment   // changed by who has the turn, nil until something is written

	turn  sync.Mutex   // held by whoever does the writer's work
	quick atomic.Int64 // Unix nanoseconds; until then callers leave the work to the writer

	// Of the one who has the turn.
	taken    *queue
	told     int // entries of taken whose done was called
	called   int // calls of taken
	pieces   [][]byte
	sequence uint64 // of the newest segment there ever was

	dirty    chan struct{} // holds a token when something waits for the background sync
	stop     chan struct{} // closed to end the background sync
	syncer   sync.WaitGroup
	stopped  chan struct{} // closed when the writer has ended
	closeErr error
}

// queue holds entries on their way to the writer. The arena is the image of the file but for the large pieces, which stay where
// the caller has them.
type queue struct {
	arena   []byte
	large   []piece
	entries []queued
	calls   []func()
}

// piece is part of a body that was not copied; it comes before arena[at].
type piece struct {
	at   int
	data []byte
}

type queued struct {
	first    int64
	rows     int64
	length   int64
	preamble []byte
	from, to int     // in the arena: head, small pieces and padding
	large    []piece // into queue.large
	done     func(error)
}

type waiter struct {
	end  int64
	done chan error
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan error, 1)} }}

// Open opens the log in o.Dir and brings it in order after a crash. The table holds the rows below next; replay, which may be
// nil, gets every entry that reaches beyond, in order. An entry with First below next was flushed in part: the caller skips the
// rows that the table has. After a salvage there may be a jump in the offsets, listed in Report.Missing.
//
// Replay runs while the log is read. When Open returns an error, what was replayed is void and nothing was changed on disk,
// unless the error is that of a file operation after the log was found sound. The caller holds a lock on the directory.
func Open(o Options, next int64, replay func(Entry) error) (*Log, Report, error) {
	r, report, err := Read(o, next, replay)
	if err != nil {
		return nil, report, err
	}
	return r.Open()
}

// Reading is a log that was read and found to be one that can be opened.
type Reading struct{ plan *plan }

// Read is the part of [Open] that changes nothing.
func Read(o Options, next int64, replay func(Entry) error) (*Reading, Report, error) {
	p, err := openPlan(o, next, replay, true)
	if err != nil {
		return nil, p.report, err
	}
	return &Reading{p}, p.report, nil
}

// Open is the rest of [Open]: it brings the log in order. It is called once, while nothing else has changed the directory.
func (r *Reading) Open() (*Log, Report, error) {
	p := r.plan
	segments, err := p.apply()
	if err == nil && len(segments) > 0 {
		err = p.o.Standing(true)
	}
	if err != nil {
		return nil, p.report, err
	}
	p.log()
	l := &Log{
		o: p.o, segments: segments, sequence: p.sequence(), appended: p.report.End,
		queue: &queue{}, taken: &queue{},
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.wake.L = &l.mu
	l.acked.Store(p.report.End)
	for _, s := range segments {
		l.size.Add(s.end)
	}
	if p.o.SyncInterval > 0 {
		l.syncer.Add(1)
		go l.syncInBackground()
	}
	go l.write()
	return l, p.report, nil
}

func openPlan(o Options, next int64, visit func(Entry) error, keep bool) (*plan, error) {
	if err := o.Validate(); err != nil {
		return &plan{}, err
	}
	return makePlan(o.withDefaults(), next, visit, keep)
}

// Append queues an entry and returns the offset of its first row; it never waits for the disk. The preamble describes how to read
// bodies, and is stored once for all entries in a row that share it; it is copied. Body pieces of 4 KiB and more are not copied:
// they must stay as they are until done was called.
//
// done, unless nil, is called once when the entry is acknowledged, or with the reason why it never will be. It runs on the
// writer goroutine, in the order of the entries, must not block, and must not call Wait, Sync, Cut or Close. When Append itself
// returns an error, nothing was queued.
func (l *Log) Append(preamble []byte, body [][]byte, rows int64, done func(error)) (first int64, err error) {
	return l.enqueue(preamble, body, rows, done, true)
}

// AppendNow is Append, but writes the entry, and calls done and OnAdvance, on the goroutine of the caller where that is quick:
// when nobody else is writing, an acknowledgement takes no sync, and the entry is small and needs no new segment. That is one
// write to the page cache; should the kernel hold one up, the writer goroutine does them all for a while.
func (l *Log) AppendNow(preamble []byte, body [][]byte, rows int64, done func(error)) (first int64, err error) {
	if first, err = l.Defer(preamble, body, rows, done); err == nil {
		l.WriteNow()
	}
	return first, err
}

// Defer is AppendNow of one of several entries: the caller calls WriteNow after the last of them.
func (l *Log) Defer(preamble []byte, body [][]byte, rows int64, done func(error)) (first int64, err error) {
	return l.enqueue(preamble, body, rows, done, l.o.SyncInterval == 0)
}

// WriteNow sees to it that deferred entries are written.
func (l *Log) WriteNow() {
	if l.o.SyncInterval == 0 {
		return
	}
	if l.turn.TryLock() {
		l.work(l.writeQuickly)
	}
	l.mu.Lock()
	if len(l.queue.entries) > 0 {
		l.rouse()
	}
	l.mu.Unlock()
}

// enqueue gives an entry its offset and its place in the queue, and wakes the writer if it is to write it.
func (l *Log) enqueue(preamble []byte, body [][]byte, rows int64, done func(error), wake bool) (first int64, err error) {
	if rows < 1 {
		return 0, fmt.Errorf("wal: an entry of %d rows", rows)
	}
	length := int64(0)
	for _, p := range body {
		length += int64(len(p))
	}
	if length > l.o.MaxEntryBytes || int64(len(preamble)) > l.o.MaxEntryBytes {
		return 0, fmt.Errorf("%w: body of %d, preamble of %d bytes", ErrTooLarge, length, len(preamble))
	}
	l.mu.Lock()
	switch {
	case l.err != nil:
		err = l.err
	case l.closing:
		err = ErrClosed
	case rows > math.MaxInt64-l.appended:
		err = fmt.Errorf("wal: offsets are used up: %d rows after row %d", rows, l.appended)
	}
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if !bytes.Equal(l.preamble, preamble) {
		l.preamble = bytes.Clone(preamble)
	}
	first = l.appended
	l.appended += rows
	l.seen.Store(l.appended)
	l.queue.add(queued{first: first, rows: rows, length: length, preamble: l.preamble, done: done}, body)
	l.size.Add(span(length))
	if wake {
		l.rouse()
	}
	l.mu.Unlock()
	return first, nil
}

// rouse wakes the writer; l.mu is held.
func (l *Log) rouse() {
	if l.idle {
		l.idle = false
		l.wake.Signal()
	}
}

func (q *queue) add(e queued, body [][]byte) {
	e.from = len(q.arena)
	q.arena = append(q.arena, zeros[:recordBytes]...)
	large := len(q.large)
	for _, p := range body {
		if len(p) < smallPiece {
			q.arena = append(q.arena, p...)
		} else {
			q.large = append(q.large, piece{len(q.arena), p})
		}
	}
	q.arena = append(q.arena, zeros[:padding(e.length)]...)
	e.to = len(q.arena)
	e.large = q.large[large:]
	q.entries = append(q.entries, e)
}

// reset empties q for the next round, and lets go of what a burst made it grow to.
func (q *queue) reset() {
	const keep = 4 << 20
	if cap(q.arena) > keep {
		q.arena = nil
	}
	clear(q.large)
	clear(q.entries)
	clear(q.calls)
	q.arena, q.large, q.entries, q.calls = q.arena[:0], q.large[:0], q.entries[:0], q.calls[:0]
}

// Acknowledged returns the row after the last acknowledged one.
func (l *Log) Acknowledged() int64 { return l.acked.Load() }

// Appended returns the row after the last appended one.
func (l *Log) Appended() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended
}

// Size returns the bytes that hold data, those waiting to be written included. On disk there is up to one SegmentBytes more,
// preallocated.
func (l *Log) Size() int64 { return l.size.Load() }

// Segments returns the number of files.
func (l *Log) Segments() int {
	l.listMu.Lock()
	defer l.listMu.Unlock()
	return len(l.segments)
}

// Err returns why the log failed, or nil. The error matches ErrFailed and the cause.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Wait returns nil when all rows below end are acknowledged. Otherwise it waits until they are, the log fails or is closed, or
// ctx ends.
func (l *Log) Wait(ctx context.Context, end int64) error {
	if l.acked.Load() >= end {
		return nil
	}
	l.mu.Lock()
	if err := l.deaf(end); err != nil || l.acked.Load() >= end {
		l.mu.Unlock()
		return err
	}
	w := waiters.Get().(*waiter)
	w.end = end
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()
	var err error
	select {
	case err = <-w.done:
	case <-ctx.Done():
		err = ctx.Err()
		l.mu.Lock()
		if i := slices.Index(l.waiters, w); i >= 0 {
			l.waiters = slices.Delete(l.waiters, i, i+1)
		} else { // it was released meanwhile
			err = <-w.done
		}
		l.mu.Unlock()
	}
	waiters.Put(w)
	return err
}

// deaf returns why nobody will be told when the rows below end are acknowledged; l.mu is held.
func (l *Log) deaf(end int64) error {
	switch {
	case l.acked.Load() >= end:
		return nil
	case l.ended:
		return ErrClosed
	default:
		return l.err
	}
}

// release ends the Wait of those who wait for rows below end, or of all when err is given; l.mu is held.
func (l *Log) release(end int64, err error) {
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		if err == nil && w.end > end {
			return false
		}
		w.done <- err
		return true
	})
}

// Sync returns when everything appended before is on disk.
func (l *Log) Sync(ctx context.Context) error {
	if l.o.SyncInterval == 0 {
		return l.Wait(ctx, l.Appended())
	}
	return l.call(ctx, func() error {
		err := l.syncActive()
		if err != nil {
			err = l.fail(err)
		}
		return err
	})
}

// call runs f on the writer goroutine after everything queued so far was written.
func (l *Log) call(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue.calls = append(l.queue.calls, func() {
		err := l.Err()
		if err == nil {
			err = l.try(f)
		}
		done <- err
	})
	l.rouse()
	l.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try returns what f does, or that it panicked.
func (l *Log) try(f func() error) (err error) {
	defer func() {
		if with := recover(); with != nil {
			err = l.panicked(with)
		}
	}()
	return f()
}

// Close writes and syncs what was appended, marks the end of the log and stops its goroutines. After a failure it returns the
// cause. A second Close returns ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closing = true
	l.rouse()
	l.mu.Unlock()
	<-l.stopped
	return l.closeErr
}

// Abort makes the log take no more entries, for that reason, as if writing had failed.
func (l *Log) Abort(cause error) { _ = l.fail(cause) }

// fail poisons the log, with the first cause, and returns its error.
func (l *Log) fail(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		l.release(0, l.err)
		l.o.Logger.Error("wal: writing failed, the log takes no more entries", "dir", l.o.Dir, "cause", cause)
	}
	return l.err
}

var errCutBeyond = errors.New("wal: cut beyond the acknowledged rows")
