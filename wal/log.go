package wal

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/wal/segment"
)

// Log is an open write-ahead log. All methods may be called at the same time.
type Log struct {
	o Options

	mu       sync.Mutex
	wake     sync.Cond // the writer sleeps here while idle is true
	idle     bool
	queue    *queue       // what the writer takes next
	appended atomic.Int64 // changed with mu
	preamble []byte       // of the last appended entry
	waiters  []*waiter
	err      error // ErrFailed with the cause
	closing  bool  // Close was called
	ended    bool  // the writer is done

	acked atomic.Int64
	size  atomic.Int64

	listMu   sync.Mutex         // held briefly
	segments []*segment.Segment // oldest first
	cutMu    sync.Mutex         // one Cut at a time

	syncMu sync.Mutex       // held while active is synced or replaced
	active *segment.Segment // changed by who has the turn, nil until something is written

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

type waiter struct {
	end  int64
	done chan error
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan error, 1)} }}

// rouse wakes the writer; l.mu is held.
func (l *Log) rouse() {
	if l.idle {
		l.idle = false
		l.wake.Signal()
	}
}

// Acknowledged returns the row after the last acknowledged one.
func (l *Log) Acknowledged() int64 { return l.acked.Load() }

// Appended returns the row after the last appended one.
func (l *Log) Appended() int64 { return l.appended.Load() }

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
	// Whoever acknowledges moves acked first and takes mu then, to release those who wait: so either acked is seen here, or this
	// one is among them. No wake-up is lost between the two.
	if err := l.deaf(end); err != nil || l.acked.Load() >= end {
		l.mu.Unlock()
		return err
	}
	// Reused, as each durable put needs one: the channel is empty again once its one answer was
	// taken.
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
		// Never waits: there is room for one, and each waiter is told once, as it is taken out
		// under this lock.
		w.done <- err
		return true
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
	// On the writer's goroutine, because then nothing is half written: a call sees the files as
	// after some entry.
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

// panicked fails the log for what a panic was called with. It is called by the function that recovers.
func (l *Log) panicked(with any) error {
	cause := fmt.Errorf("panic: %v\n%s", with, debug.Stack())
	l.o.Panicked(cause) // which may have a better word for it, see Abort
	return l.fail(cause)
}

// contain calls f, of which a panic ends nothing else.
func (l *Log) contain(f func()) {
	_ = l.try(func() error { f(); return nil }) // the log has failed
}

func (l *Log) newest() *segment.Segment {
	l.listMu.Lock()
	defer l.listMu.Unlock()
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}
