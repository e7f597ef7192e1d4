package wal

import (
	"bytes"

	"github.com/persisting/persisting/wal/segment"
)

// smallPiece is the size below which a piece of a body is copied by Append, so that
// a write of many small entries is of few pieces and the caller has that memory back at once.
const smallPiece = 4 << 10

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

// queued is an entry as the writer finds it.
type queued struct {
	first    int64
	rows     int64
	length   int64
	preamble []byte
	body     uint32  // checksum of payload and padding, from when they were last written
	from, to int     // in the arena: head, small pieces and padding
	large    []piece // into queue.large
	done     func(error)
}

func (q *queue) add(e queued, body [][]byte) {
	e.from = len(q.arena)
	// Room for the head, which image fills in: the chain of checksums goes through it, and that is
	// known only when the entry is written.
	q.arena = segment.AppendHead(q.arena)
	large := len(q.large)
	for _, p := range body {
		if len(p) < smallPiece {
			q.arena = append(q.arena, p...)
		} else {
			q.large = append(q.large, piece{len(q.arena), p})
		}
	}
	q.arena = segment.AppendPadding(q.arena, e.length)
	e.to = len(q.arena)
	e.large = q.large[large:]
	q.entries = append(q.entries, e)
}

// reset empties q for the next round, and lets go of what a burst made it grow to.
func (q *queue) reset() {
	const keep = 4 << 20 // more than most rounds take, and little for a process
	// The two queues take turns, so a burst would be kept twice.
	if cap(q.arena) > keep {
		q.arena = nil
	}
	clear(q.large)
	clear(q.entries)
	clear(q.calls)
	q.arena, q.large, q.entries, q.calls = q.arena[:0], q.large[:0], q.entries[:0], q.calls[:0]
}

// sum returns the checksum of payload and padding.
func (e *queued) sum(arena []byte) uint32 {
	sum, at := uint32(0), e.from+segment.RecordBytes
	for _, p := range e.large {
		sum = segment.Checksum(sum, arena[at:p.at])
		sum = segment.Checksum(sum, p.data)
		at = p.at
	}
	return segment.Checksum(sum, arena[at:e.to])
}

// unchanged reports whether the large pieces are what they were when their checksums were made. If a caller wrote to one, a copy
// takes its place: a record with a wrong checksum would make the whole log unreadable.
func unchanged(arena []byte, entries []queued) bool {
	ok := true
	for i := range entries {
		e := &entries[i]
		if len(e.large) == 0 || e.sum(arena) == e.body {
			continue
		}
		ok = false
		for j := range e.large {
			// A copy is compared as well the next time round, and does not change.
			e.large[j].data = bytes.Clone(e.large[j].data)
		}
	}
	return ok
}
