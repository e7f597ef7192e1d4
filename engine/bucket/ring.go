package bucket

import (
	"fmt"
	"os"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/ring"
)

// openRing is OpenRing for a caller that holds in.appending.
func (in *ingest) openRing(schema *batch.MessageSchema) (next int64, err error) {
	if in.log != nil && in.opts.WALSyncInterval < minSyncInterval || !in.takesMessages(schema) {
		return -1, nil
	}
	var preamble []byte
	if in.log != nil {
		if preamble = in.encoder.Preamble; len(preamble) > ring.MaxPreamble {
			return -1, nil
		}
	}
	r := in.ring.Load()
	if r == nil {
		if err := in.home.Owned(); err != nil {
			return -1, err
		}
		if r, err = ring.Create(in.ringPath(), in.id, in.log != nil); err != nil {
			in.logger.Warn("puts go without a ring, which takes longer", "error", err)
			return -1, nil
		}
		in.ring.Store(r)
	}
	in.rows.mu.Lock()
	next = in.rows.tail.Next()
	waiting := in.rows.visible() < next
	in.rows.mu.Unlock()
	// A row in the ring is acknowledged as it lies there, so all rows before it must be.
	if waiting || !r.Empty() {
		return -1, engine.ErrWouldBlock
	}
	// Before the preamble is there, without which nobody puts: what comes then is of this schema.
	in.ringSchema = schema
	return next, r.Begin(preamble)
}

// holdRing has puts call the engine, or lets them go through the ring again, if there is one.
func (in *ingest) holdRing(on bool) {
	if r := in.ring.Load(); r != nil {
		r.Hold(on)
	}
}

// ringLoop takes out of the ring what nobody took who wanted to see it.
func (in *ingest) ringLoop() {
	for {
		select {
		case <-in.stop:
			return
		case <-in.drainRequested:
		}
		r := in.ring.Load()
		if r == nil {
			continue
		}
		// Three times nothing. Who puts may see Watch(false) a moment late, or its put be seen late, as processors keep stores
		// back for a while: what is put then is found the third time, and who puts later asks.
		for idle := 0; idle < 3; {
			r.Watch(idle == 0)
			if idle++; r.Pending() {
				idle = 0
				in.lockAppends()
				in.appending.Unlock()
			}
			select {
			case <-in.stop:
				return
			case <-in.drainRequested:
				idle = 0
			case <-time.After(ringInterval):
			}
		}
	}
}

// lockAppends takes in.appending, and takes over what was put before.
func (in *ingest) lockAppends() { _ = in.tryAppends(false) }

// catchUp takes over what was put before it was called, by another process where that has the bucket.
func (in *ingest) catchUp(noWait bool) error {
	if in.follower != nil {
		return in.follower.catchUp(noWait)
	}
	// What is not pending any more may not be in the tail yet.
	if r := in.ring.Load(); r == nil || !r.Pending() && !in.draining.Load() {
		return nil
	}
	if err := in.tryAppends(noWait); err != nil {
		return err
	}
	in.appending.Unlock()
	return nil
}

// glance is catchUp for who need not see what is put meanwhile: it waits for another process that has the bucket alone.
func (in *ingest) glance() error {
	if in.follower != nil {
		return in.follower.catchUp(false)
	}
	_ = in.catchUp(true) // or the ring is taken over a little later
	return nil
}

// tryAppends is lockAppends, which waits with noWait only for one who takes puts over, which takes no disk.
func (in *ingest) tryAppends(noWait bool) error {
	if !noWait {
		in.appending.Lock()
	} else {
		for !in.appending.TryLock() {
			if !in.draining.Load() {
				return engine.ErrWouldBlock
			}
			// Whoever drains moves at most a ring of bytes and waits for no disk. To turn the
			// caller back would send it to a thread of its own, which takes longer.
			time.Sleep(10 * time.Microsecond)
		}
	}
	drained := false
	defer func() {
		if !drained {
			in.appending.Unlock()
		}
	}()
	in.drain()
	drained = true
	return nil
}

// drain moves what is in the ring to the tail and the log. The rows are acknowledged already, so where the log takes none they are
// in the tail nevertheless, and stay in the ring for the next opener. The caller holds in.appending.
func (in *ingest) drain() {
	r := in.ring.Load()
	if r == nil || !r.Pending() {
		return
	}
	// Set while rows are neither in the ring nor seen: catchUp must not pass then.
	in.draining.Store(true)
	defer in.draining.Store(false)
	entries, err := in.takePuts(r)
	if err != nil {
		r.Hold(true)
		_ = in.home.Refuse(err)
	}
	if len(entries) == 0 {
		return
	}
	if in.log == nil {
		// Without a log memory is all that these rows are promised.
		r.Free(entries[len(entries)-1].Place)
		in.rows.advance(in.rows.tail.Next())
	} else if in.logPuts(r, entries) != nil {
		r.Hold(true)
	}
	if in.rows.isFull() {
		r.Hold(true)
		signal(in.flushRequested)
	}
}

// takePuts moves what is in the ring to the tail, and returns it.
func (in *ingest) takePuts(r *ring.Ring) (taken []*ring.Entry, err error) {
	found, err := in.checkPuts(r)
	puts := make([]entry, 0, len(found))
	for _, e := range found {
		put, failed := Message{in.ringSchema, e.Message}.entry(in, e.Rows, true)
		if failed != nil {
			err = failed
			break
		}
		puts = append(puts, put)
	}
	in.rows.mu.Lock()
	defer in.rows.mu.Unlock()
	for _, put := range puts {
		in.rows.put(put)
	}
	// Acknowledged whatever the log says: who put them was told so by the ring.
	in.rows.promised = in.rows.tail.Next()
	return found[:len(puts)], err
}

// checkPuts returns what is in the ring, as far as it is what may be there.
func (in *ingest) checkPuts(r *ring.Ring) (entries []*ring.Entry, err error) {
	for next := in.rows.tail.Next(); ; {
		e, err := r.Take()
		if err != nil || e == nil {
			return entries, err
		}
		rows, err := in.ringSchema.Check(e.Message)
		if err != nil {
			return entries, err
		}
		// The file is written by another language, and could be by anyone who may write in the
		// directory.
		if rows != e.Rows || e.First != next || !in.fit(in.ringSchema.Schema) {
			return entries, fmt.Errorf("engine: %s has a message of %d rows as %d rows from offset %d on, want %d, of the bucket's columns",
				in.ringPath(), rows, e.Rows, e.First, next)
		}
		next += rows
		entries = append(entries, e)
	}
}

// logPuts writes entries of the ring to the log, and gives their space back when they are there.
func (in *ingest) logPuts(r *ring.Ring, entries []*ring.Entry) error {
	for _, e := range entries {
		done := func(err error) {
			if err == nil {
				r.Free(e.Place)
			} else {
				r.Hold(true)
			}
		}
		// The very bytes of the ring, which stay there until the log has written them: large ones are not copied.
		if _, err := in.log.Defer(in.encoder.Preamble, in.compressor.Compress([][]byte{e.Message}), e.Rows, done); err != nil {
			return err
		}
	}
	in.log.WriteNow()
	return nil
}

// closeRing removes the ring if nobody needs what is in it, as all rows in memory are in the table, or the log has them.
func (in *ingest) closeRing(flushed bool) error {
	r := in.ring.Swap(nil)
	if r == nil {
		return nil
	}
	r.Hold(true)
	// Else it stays for the next opener, with the only copy of what it has.
	if r.Empty() || flushed && !r.Pending() {
		if err := in.home.Owned(); err != nil {
			return err
		}
		return os.Remove(in.ringPath())
	}
	return nil
}
