package wal

import (
	"bytes"
	"runtime"
	"time"

	"github.com/persisting/persisting/wal/segment"
)

const (
	// A caller, which may be an event loop, is not to be held longer than it takes to hand the entry over: so it writes little
	// itself, and for a while nothing once the kernel has held a write up, as it does while it writes back much.
	quickBytes = 64 << 10
	slowWrite  = 10 * time.Millisecond
	lingerTime = 200 * time.Microsecond
	yieldTime  = 20 * time.Microsecond  // between two looks whether another thread wants the processor
	quickPause = 100 * time.Millisecond // callers leave writing to the writer for so long
)

// write is the writer goroutine.
func (l *Log) write() {
	defer close(l.stopped)
	for l.await() {
		l.turn.Lock()
		l.work(func() {
			// Two queues change places, so that those who append wait for no write and no memory is made anew.
			l.mu.Lock()
			l.queue, l.taken = l.taken, l.queue
			l.mu.Unlock()
			l.writeTaken()
		})
		l.linger()
	}
	l.turn.Lock()
	l.work(l.end)
	l.mu.Lock()
	defer l.mu.Unlock()
	// A log that failed before the close says so again: who only looks at the close must not take
	// it for well.
	if l.closeErr == nil {
		l.closeErr = l.err
	}
	l.ended = true
	l.release(0, ErrClosed)
}

// work calls f, which does some of the writer's work, and ends the turn, which the caller has. A panic fails the log: all that
// was taken from the queue is told so.
func (l *Log) work(f func()) {
	defer l.turn.Unlock()
	defer func() {
		if with := recover(); with != nil {
			l.settle(l.panicked(with))
		}
	}()
	f()
}

// settle tells those whose entries or calls were taken from the queue, and were not told yet, of a failure.
func (l *Log) settle(err error) {
	for l.told < len(l.taken.entries) {
		e := &l.taken.entries[l.told]
		l.told++
		if e.done != nil {
			l.contain(func() { e.done(err) })
		}
	}
	for l.called < len(l.taken.calls) {
		call := l.taken.calls[l.called]
		l.called++
		l.contain(call)
	}
	l.reset()
}

// reset empties what was taken.
func (l *Log) reset() {
	l.taken.reset()
	l.told, l.called = 0, 0
	clear(l.pieces)
}

// linger looks out for the next entry for a moment: one who waits for a sync before it appends again is soon back, and to wake
// a writer that sleeps takes a good part of the time of a sync. Whoever else wants the processor gets it, above all the one who
// was just told of an acknowledgement.
//
// One durable writer puts 2,897 records a second so, and 2,242 without: 1.29 times. For 64 writers, who come while others are
// synced, it makes no difference (medians of five pairs of processes in turns, on two processors).
func (l *Log) linger() {
	if l.o.SyncInterval > 0 || runtime.NumCPU() == 1 {
		return
	}
	acked := l.acked.Load()
	yielded := time.Duration(0)
	for began := time.Now(); ; {
		past := time.Since(began)
		if past >= lingerTime || l.appended.Load() > acked {
			return
		}
		if past >= yielded+yieldTime {
			yieldProcessor()
			yielded = past
		}
	}
}

// await waits for something to do, and returns false when the log is closed and nothing is left.
func (l *Log) await() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue.entries) == 0 && len(l.queue.calls) == 0 {
		if l.closing {
			return false
		}
		l.idle = true
		l.wake.Wait()
	}
	return true
}

// writeQuickly does the writer's work on the goroutine of a caller who has the turn, unless that may take long.
func (l *Log) writeQuickly() {
	began := time.Now()
	if began.UnixNano() < l.quick.Load() {
		return
	}
	l.mu.Lock()
	// A segment to be made takes syncs, and a call may take anything.
	quick := l.active != nil && len(l.queue.calls) == 0
	need := int64(0)
	for i := range l.queue.entries {
		e := &l.queue.entries[i]
		need += segment.Span(e.length)
		quick = quick && bytes.Equal(e.preamble, l.active.Preamble())
	}
	quick = quick && need <= quickBytes && l.active.Room(need)
	if quick {
		l.queue, l.taken = l.taken, l.queue
	}
	l.mu.Unlock()
	if !quick {
		return
	}
	l.writeTaken()
	// The kernel has begun to hold writers up, and will hold the next one as well.
	if now := time.Now(); now.Sub(began) > slowWrite {
		l.quick.Store(now.Add(quickPause).UnixNano())
	}
}

// writeTaken writes and acknowledges what was taken from the queue.
func (l *Log) writeTaken() {
	for rest := l.taken.entries; len(rest) > 0; {
		n, err := l.writeRun(rest)
		if err != nil {
			// All that is left, not only those of the run: offsets have no holes, so nothing can follow what failed.
			l.tell(rest, l.fail(err))
			break
		}
		l.acknowledge(rest[:n])
		rest = rest[n:]
	}
	for l.called < len(l.taken.calls) {
		call := l.taken.calls[l.called]
		l.called++
		call()
	}
	l.reset()
}

// writeRun writes as many of the entries as go into one segment, and syncs them if that is what they wait for.
func (l *Log) writeRun(entries []queued) (int, error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	first := &entries[0]
	s := l.active
	if s == nil || !bytes.Equal(s.Preamble(), first.preamble) || !s.Room(segment.Span(first.length)) {
		if err := l.rotate(first); err != nil {
			return 0, err
		}
		s = l.active
	}
	n, bytesOfRun := 1, segment.Span(first.length)
	for n < len(entries) && bytes.Equal(entries[n].preamble, s.Preamble()) && s.Room(bytesOfRun+segment.Span(entries[n].length)) {
		bytesOfRun += segment.Span(entries[n].length)
		n++
	}
	entries = entries[:n]
	// Large pieces lie in the memory of the caller. One that was written to meanwhile would leave a record whose checksum is wrong,
	// and so a log that cannot be read: the run is written once more over itself, with a copy. Nothing counts before that.
	for {
		// Anew each time round, as the checksums of what changed are others.
		run := l.image(s, entries)
		if err := l.put(s); err != nil {
			s.Rollback()
			return 0, err
		}
		if unchanged(l.taken.arena, entries) {
			s.Extend(run, l.o.SyncInterval == 0)
			break
		}
	}
	if l.o.Observer.Wrote != nil {
		l.o.Observer.Wrote(n, bytesOfRun)
	}
	if l.o.SyncInterval > 0 {
		select {
		// One token for all writes of an interval.
		case l.dirty <- struct{}{}:
		default:
		}
	}
	// The background sync may have failed meanwhile. What it lost lies before this run, so the run is worth nothing either.
	if err := l.Err(); err != nil {
		s.Rollback()
		return 0, err
	}
	s.Acknowledge()
	return n, nil
}

// put writes l.pieces, to the disk if that is what the entries wait for.
func (l *Log) put(s *segment.Segment) error {
	if l.o.SyncInterval > 0 {
		return s.Write(l.pieces, false)
	}
	began := time.Now()
	err := s.Write(l.pieces, true)
	if err == nil && l.o.Observer.Synced != nil {
		l.o.Observer.Synced(time.Since(began))
	}
	return err
}

// image sets l.pieces to what the file gets, with the heads filled in, and returns the run that they are.
func (l *Log) image(s *segment.Segment, entries []queued) segment.Run {
	arena := l.taken.arena
	run := s.Begin()
	l.pieces = l.pieces[:0]
	from := entries[0].from
	for i := range entries {
		e := &entries[i]
		// Of the payload as it is now. The one of the head comes last, as it covers this.
		e.body = e.sum(arena)
		run.Head(arena[e.from:], e.first, e.rows, e.length, e.body)
		for _, p := range e.large {
			if p.at > from {
				l.pieces = append(l.pieces, arena[from:p.at])
			}
			l.pieces = append(l.pieces, p.data)
			from = p.at
		}
	}
	if to := entries[len(entries)-1].to; to > from {
		l.pieces = append(l.pieces, arena[from:to])
	}
	return run
}

// rotate ends the newest segment and makes one that begins with e. The old one is on disk as a whole before the new one has a
// name, and gets its end mark before the new one gets an entry.
func (l *Log) rotate(e *queued) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	h := segment.Header{
		Bucket: l.o.Bucket, Sequence: l.sequence + 1, Base: e.first, Salt: l.o.salt(),
		Capacity: segment.Capacity(l.o.SegmentBytes, e.preamble, segment.Span(e.length)),
	}
	before := l.newest()
	if before != nil {
		// On disk before the next one has a name: a crash that kept a later segment and lost the end of this one would be a gap.
		if before.Open() {
			if err := l.timedSync(before); err != nil {
				return err
			}
		}
		h.PrevEnd, h.PrevChain = before.Seal()
	}
	s, err := segment.Create(l.o.files(), h, e.preamble, segment.Making{Zeros: l.o.zeros(h.Capacity)})
	if err != nil {
		return err
	}
	if before == nil {
		// Before it gets an entry: were the log lost from here on, somebody must know that there was one.
		err = l.o.Standing(true)
	} else {
		l.active = nil
		unsealed := before.End()
		err = before.Finish(l.o.FS, segment.Sealed)
		l.size.Add(before.End() - unsealed)
	}
	if err != nil {
		_ = s.Drop()
		return err
	}
	l.active, l.sequence = s, h.Sequence
	l.size.Add(s.End())
	l.listMu.Lock()
	l.segments = append(l.segments, s)
	l.listMu.Unlock()
	return nil
}

// acknowledge tells those who wait for the entries, all of which are safe.
func (l *Log) acknowledge(entries []queued) {
	last := &entries[len(entries)-1]
	end := last.first + last.rows
	l.acked.Store(end) // before mu is taken, see Wait
	l.mu.Lock()
	l.release(end, nil)
	l.mu.Unlock()
	l.tell(entries, nil)
	if l.o.OnAdvance != nil {
		l.o.OnAdvance(end)
	}
}

// tell calls what is to be called when it is known what has become of entries, the next ones of those taken.
func (l *Log) tell(entries []queued, err error) {
	for i := range entries {
		l.told++
		if done := entries[i].done; done != nil {
			done(err)
		}
	}
}

// end closes the files.
func (l *Log) end() {
	close(l.stop)
	l.syncer.Wait() // or it would sync a file that is closed
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	err := l.Err()
	if s := l.active; s != nil {
		if err == nil {
			if err = l.timedSync(s); err == nil {
				err = s.Finish(l.o.FS, segment.Closed)
			}
			if err != nil {
				err = l.fail(err)
			}
		}
		_ = s.Drop()
		l.active = nil
	}
	l.closeErr = err
}
