package wal

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	quickBytes = 64 << 10              // a caller writes no more than this itself
	slowWrite  = 10 * time.Millisecond // after a write that took longer
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

// panicked fails the log for what a panic was called with. It is called by the function that recovers.
func (l *Log) panicked(with any) error {
	cause := fmt.Errorf("panic: %v\n%s", with, debug.Stack())
	l.o.Panicked(cause) // which may have a better word for it, see Abort
	return l.fail(cause)
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

// contain calls f, of which a panic ends nothing else.
func (l *Log) contain(f func()) {
	_ = l.try(func() error { f(); return nil }) // the log has failed
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
func (l *Log) linger() {
	if l.o.SyncInterval > 0 || runtime.NumCPU() == 1 {
		return
	}
	acked := l.acked.Load()
	yielded := time.Duration(0)
	for began := time.Now(); ; {
		past := time.Since(began)
		if past >= lingerTime || l.seen.Load() > acked {
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
	quick := l.active != nil && len(l.queue.calls) == 0
	need := int64(0)
	for i := range l.queue.entries {
		e := &l.queue.entries[i]
		need += span(e.length)
		quick = quick && bytes.Equal(e.preamble, l.active.preamble)
	}
	quick = quick && need <= quickBytes && l.active.room(need)
	if quick {
		l.queue, l.taken = l.taken, l.queue
	}
	l.mu.Unlock()
	if !quick {
		return
	}
	l.writeTaken()
	if now := time.Now(); now.Sub(began) > slowWrite {
		l.quick.Store(now.Add(quickPause).UnixNano())
	}
}

// writeTaken writes and acknowledges what was taken from the queue.
func (l *Log) writeTaken() {
	for rest := l.taken.entries; len(rest) > 0; {
		n, err := l.writeRun(rest)
		if err != nil {
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
	if s == nil || !bytes.Equal(s.preamble, first.preamble) || !s.room(span(first.length)) {
		if err := l.rotate(first); err != nil {
			return 0, err
		}
		s = l.active
	}
	n, bytesOfRun := 1, span(first.length)
	for n < len(entries) && bytes.Equal(entries[n].preamble, s.preamble) && s.room(bytesOfRun+span(entries[n].length)) {
		bytesOfRun += span(entries[n].length)
		n++
	}
	entries = entries[:n]
	for {
		chain := l.image(s, entries)
		if err := l.put(s); err != nil {
			s.rollback()
			return 0, err
		}
		if unchanged(l.taken.arena, entries) {
			s.chain = chain
			break
		}
	}
	last := &entries[n-1]
	s.end += bytesOfRun
	s.next = last.first + last.rows
	s.written.Store(s.end)
	if l.o.Observer.Wrote != nil {
		l.o.Observer.Wrote(n, bytesOfRun)
	}
	if l.o.SyncInterval == 0 {
		s.synced.Store(s.end)
	} else {
		select {
		case l.dirty <- struct{}{}:
		default:
		}
	}
	if err := l.Err(); err != nil { // the background sync failed meanwhile
		s.rollback()
		return 0, err
	}
	s.acked = s.end
	return n, nil
}

// put writes l.pieces, to the disk if that is what the entries wait for.
func (l *Log) put(s *segment) error {
	if l.o.SyncInterval > 0 {
		return s.file.WriteAt(l.pieces, s.end)
	}
	began := time.Now()
	err := s.file.WriteSync(l.pieces, s.end)
	if err == nil && l.o.Observer.Synced != nil {
		l.o.Observer.Synced(time.Since(began))
	}
	return err
}

// image sets l.pieces to what the file gets, with the heads filled in, and returns the chain after it.
func (l *Log) image(s *segment, entries []queued) uint32 {
	arena := l.taken.arena
	promise := s.synced.Load()
	pos, chain := s.end, s.chain
	l.pieces = l.pieces[:0]
	from := entries[0].from
	for i := range entries {
		e := &entries[i]
		r := record{
			kind: kindEntry, length: e.length, first: e.first, rows: e.rows, promise: promise,
			body: e.sum(arena),
		}
		r.encode(arena[e.from:], pos, s.head.salt)
		chain = extend(chain, arena[e.from:])
		for _, p := range e.large {
			if p.at > from {
				l.pieces = append(l.pieces, arena[from:p.at])
			}
			l.pieces = append(l.pieces, p.data)
			from = p.at
		}
		pos += span(e.length)
	}
	if to := entries[len(entries)-1].to; to > from {
		l.pieces = append(l.pieces, arena[from:to])
	}
	return chain
}

// sum returns the checksum of payload and padding.
func (e *queued) sum(arena []byte) uint32 {
	sum, at := uint32(0), e.from+recordBytes
	for _, p := range e.large {
		sum = crc32.Update(sum, castagnoli, arena[at:p.at])
		sum = crc32.Update(sum, castagnoli, p.data)
		at = p.at
	}
	return crc32.Update(sum, castagnoli, arena[at:e.to])
}

// unchanged reports whether the large pieces are what they were when their checksums were made. If a caller wrote to one, a copy
// takes its place: a record with a wrong checksum would make the whole log unreadable.
func unchanged(arena []byte, entries []queued) bool {
	ok := true
	for i := range entries {
		e := &entries[i]
		if len(e.large) == 0 || e.sum(arena) == order.Uint32(arena[e.from+4:]) {
			continue
		}
		ok = false
		for j := range e.large {
			e.large[j].data = bytes.Clone(e.large[j].data)
		}
	}
	return ok
}

// rotate ends the newest segment and makes one that begins with e. The old one is on disk as a whole before the new one has a
// name, and gets its end mark before the new one gets an entry.
func (l *Log) rotate(e *queued) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	h := header{
		bucket: l.o.Bucket, sequence: l.sequence + 1, base: e.first, salt: l.o.salt(),
		capacity: capacityFor(l.o, e.preamble, span(e.length)),
	}
	before := l.newest()
	if before != nil {
		if before.file != nil {
			if err := l.timedSync(before); err != nil {
				return err
			}
		}
		mark := before.marker(kindSealed)
		h.prevEnd, h.prevChain = before.end+int64(len(mark)), extend(before.chain, mark)
	}
	s, err := makeSegment(l.o, h, e.preamble, nil, nil)
	if err != nil {
		return err
	}
	if before == nil {
		err = l.o.Standing(true)
	} else {
		l.active = nil
		err = before.finish(l.o.FS, kindSealed)
	}
	if err != nil {
		_ = s.drop()
		return err
	}
	if before != nil {
		l.size.Add(span(int64(len(before.preamble))))
		before.preamble = nil
	}
	l.active, l.sequence = s, h.sequence
	l.size.Add(s.end)
	l.listMu.Lock()
	l.segments = append(l.segments, s)
	l.listMu.Unlock()
	return nil
}

func (l *Log) newest() *segment {
	l.listMu.Lock()
	defer l.listMu.Unlock()
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

func (l *Log) syncActive() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.active == nil {
		return nil
	}
	return l.timedSync(l.active)
}

// timedSync brings what was written of s to the disk; l.syncMu is held.
func (l *Log) timedSync(s *segment) error {
	end := s.written.Load()
	if s.synced.Load() >= end {
		return nil
	}
	began := time.Now()
	if err := s.file.Datasync(); err != nil {
		return err
	}
	s.synced.Store(end)
	if l.o.Observer.Synced != nil {
		l.o.Observer.Synced(time.Since(began))
	}
	return nil
}

// syncInBackground is the goroutine of a log with a SyncInterval.
func (l *Log) syncInBackground() {
	defer l.syncer.Done()
	l.contain(l.syncRegularly)
}

func (l *Log) syncRegularly() {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-l.dirty:
		case <-l.stop:
			return
		}
		timer.Reset(l.o.SyncInterval)
		select {
		case <-timer.C:
		case <-l.stop:
			timer.Stop()
			return
		}
		if err := l.syncActive(); err != nil {
			_ = l.fail(err)
			return
		}
	}
}

// acknowledge tells those who wait for the entries, all of which are safe.
func (l *Log) acknowledge(entries []queued) {
	last := &entries[len(entries)-1]
	end := last.first + last.rows
	l.acked.Store(end)
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
	l.syncer.Wait()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	err := l.Err()
	if s := l.active; s != nil {
		if err == nil {
			if err = l.timedSync(s); err == nil {
				err = s.finish(l.o.FS, kindClosed)
			}
			if err != nil {
				err = l.fail(err)
			}
		}
		_ = s.drop()
		l.active = nil
	}
	l.closeErr = err
}
