package wal

import (
	"bytes"
	"fmt"
	"math"

	"github.com/persisting/persisting/wal/segment"
)

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

// Defer is Append for a caller that calls WriteNow after it, or after the last of several.
func (l *Log) Defer(preamble []byte, body [][]byte, rows int64, done func(error)) (first int64, err error) {
	return l.enqueue(preamble, body, rows, done, l.o.SyncInterval == 0)
}

// WriteNow sees to it that deferred entries are written. It writes them, and calls done and OnAdvance, on the goroutine of the
// caller where that is quick: when nobody else is writing, an acknowledgement takes no sync, and the entries are small and need
// no new segment. That is one write to the page cache; should the kernel hold one up, the writer goroutine does them all for a
// while.
func (l *Log) WriteNow() {
	if l.o.SyncInterval == 0 {
		return
	}
	if l.turn.TryLock() {
		l.work(l.writeQuickly)
	}
	// Where somebody else had the turn, or writing may take long, entries are still there. That somebody looked at the queue
	// before these came, perhaps, so the writer has to be woken in any case.
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
	// Refused before the lock and before it has a place: a reader refuses a record of more, so one
	// that was written would be the end of the log for it.
	if length > l.o.MaxEntryBytes || int64(len(preamble)) > l.o.MaxEntryBytes {
		return 0, fmt.Errorf("%w: body of %d, preamble of %d bytes", segment.ErrTooLarge, length, len(preamble))
	}
	l.mu.Lock()
	switch {
	case l.err != nil:
		err = l.err
	case l.closing:
		err = ErrClosed
	// Offsets are 63 bits. Nobody gets there by putting rows, but a salvage goes on where a damaged
	// log says.
	case rows > math.MaxInt64-l.appended.Load():
		err = fmt.Errorf("wal: offsets are used up: %d rows after row %d", rows, l.appended.Load())
	}
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	// Entries in a row share one copy, by which the writer sees that they go into one segment.
	if !bytes.Equal(l.preamble, preamble) {
		l.preamble = bytes.Clone(preamble)
	}
	first = l.appended.Load()
	l.queue.add(queued{first: first, rows: rows, length: length, preamble: l.preamble, done: done}, body)
	// Counted now and not when it is written: who holds appends back while the log is too large
	// must see those that wait in the queue.
	l.size.Add(segment.Span(length))
	l.appended.Store(first + rows) // after the entry is queued: Sync waits for what it reads here
	if wake {
		l.rouse()
	}
	l.mu.Unlock()
	return first, nil
}
