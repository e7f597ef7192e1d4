package bucket

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/statefile"
)

const (
	// ringInterval is how long a put stays in the ring.
	ringInterval = 20 * time.Millisecond
	// minSyncInterval is that of a log beside which a put may stay there.
	minSyncInterval = 10 * ringInterval
)

func (b *Bucket) ringPath() string { return filepath.Join(b.home.Path, layout.RingFile) }

// OpenRing makes the ring, or empties it, for messages with the columns of schema, and returns the offset of the next row. From
// then on the rows of an entry are acknowledged as soon as the putter has written it, which it may do while all rows before are
// acknowledged. It never waits: the error is [ErrWouldBlock] where it would have to. Where such puts cannot be, the offset is -1.
func (b *Bucket) OpenRing(schema *batch.MessageSchema) (next int64, err error) {
	if err := b.admit(true); err != nil {
		return -1, err
	}
	defer b.appending.Unlock()
	if b.log != nil && b.opts.WALSyncInterval < minSyncInterval || !b.fit(schema.Schema) || b.requires() || schema.Strict {
		return -1, nil
	}
	var preamble []byte
	if b.log != nil {
		if err := b.useSchema(b.schema); err != nil {
			return -1, err
		}
		if preamble = b.encoder.Preamble; len(preamble) > ring.MaxPreamble {
			return -1, nil
		}
	}
	r := b.ring.Load()
	if r == nil {
		if err := b.home.Owned(); err != nil {
			return -1, err
		}
		if r, err = ring.Create(b.ringPath(), b.id, b.log != nil); err != nil {
			b.logger.Warn("puts go without a ring, which takes longer", "error", err)
			return -1, nil
		}
		b.ring.Store(r)
	}
	b.mu.Lock()
	next = b.tail.next
	waiting := b.visible() < next
	b.mu.Unlock()
	if waiting || !r.Empty() {
		return -1, engine.ErrWouldBlock
	}
	b.ringSchema = schema
	return next, r.Begin(preamble)
}

// DrainRing asks for what is in the ring to be taken out soon.
func (b *Bucket) DrainRing() { signal(b.rung) }

// ringLoop takes out of the ring what nobody took who wanted to see it.
func (b *Bucket) ringLoop() {
	for {
		select {
		case <-b.stop:
			return
		case <-b.rung:
		}
		r := b.ring.Load()
		if r == nil {
			continue
		}
		// Three times nothing. Who puts may see Watch(false) a moment late, or its put be seen late, as processors keep stores
		// back for a while: what is put then is found the third time, and who puts later asks.
		for idle := 0; idle < 3; {
			r.Watch(idle == 0)
			if idle++; r.Pending() {
				idle = 0
				b.lockAppends()
				b.appending.Unlock()
			}
			select {
			case <-b.stop:
				return
			case <-b.rung:
				idle = 0
			case <-time.After(ringInterval):
			}
		}
	}
}

// lockAppends takes b.appending, and takes over what was put before.
func (b *Bucket) lockAppends() { _ = b.tryAppends(false) }

// catchUp takes over what was put before it was called.
func (b *Bucket) catchUp(noWait bool) error {
	// What is not pending any more may not be in the tail yet.
	if r := b.ring.Load(); r == nil || !r.Pending() && !b.draining.Load() {
		return nil
	}
	if err := b.tryAppends(noWait); err != nil {
		return err
	}
	b.appending.Unlock()
	return nil
}

// tryAppends is lockAppends, which waits with noWait only for one who takes puts over, which takes no disk.
func (b *Bucket) tryAppends(noWait bool) error {
	if !noWait {
		b.appending.Lock()
	} else {
		for !b.appending.TryLock() {
			if !b.draining.Load() {
				return engine.ErrWouldBlock
			}
			time.Sleep(10 * time.Microsecond)
		}
	}
	drained := false
	defer func() {
		if !drained {
			b.appending.Unlock()
		}
	}()
	b.drain()
	drained = true
	return nil
}

// drain moves what is in the ring to the tail and the log. The rows are acknowledged already, so where the log takes none they are
// in the tail nevertheless, and stay in the ring for the next opener. The caller holds b.appending.
func (b *Bucket) drain() {
	r := b.ring.Load()
	if r == nil || !r.Pending() {
		return
	}
	b.draining.Store(true)
	defer b.draining.Store(false)
	entries, err := b.takePuts(r)
	if err != nil {
		r.Hold(true)
		_ = b.home.Refuse(err)
	}
	if len(entries) == 0 {
		return
	}
	if b.log == nil {
		r.Free(entries[len(entries)-1].Place)
		b.advance(b.tail.next)
	} else if b.logPuts(r, entries) != nil {
		r.Hold(true)
	}
	b.mu.Lock()
	full := b.full()
	b.mu.Unlock()
	if full {
		r.Hold(true)
		signal(b.kick)
	}
}

// takePuts moves what is in the ring to the tail, and returns it.
func (b *Bucket) takePuts(r *ring.Ring) ([]*ring.Entry, error) {
	entries, err := b.checkPuts(r)
	full := false
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range entries {
		if len(e.Message) < packedBytes {
			full = b.tail.pack(b.ringSchema, b.schema, e.Message, e.Rows) || full
			b.grew(int64(len(e.Message)))
		} else if failed := b.pushMessage(e.Message); failed != nil {
			entries, err = entries[:i], failed
			break
		}
		b.tally.puts++
		b.tally.bytes += int64(len(e.Message))
	}
	b.promised = b.tail.next
	if full {
		signal(b.packed)
	}
	return entries, err
}

// checkPuts returns what is in the ring, as far as it is what may be there.
func (b *Bucket) checkPuts(r *ring.Ring) (entries []*ring.Entry, err error) {
	for next := b.tail.next; ; {
		e, err := r.Take()
		if err != nil || e == nil {
			return entries, err
		}
		rows, err := b.ringSchema.Check(e.Message)
		if err != nil {
			return entries, err
		}
		if rows != e.Rows || e.First != next || !b.fit(b.ringSchema.Schema) {
			return entries, fmt.Errorf("engine: %s has a message of %d rows as %d rows from offset %d on, want %d, of the bucket's columns",
				b.ringPath(), rows, e.Rows, e.First, next)
		}
		next += rows
		entries = append(entries, e)
	}
}

// pushMessage puts the batch of a message with the columns of the bucket into the tail. The caller holds b.mu.
func (b *Bucket) pushMessage(message []byte) error {
	rec, _, err := b.ringSchema.Copy(message)
	if err != nil {
		return err
	}
	defer rec.Release()
	b.push(array.NewRecord(b.schema, rec.Columns(), rec.NumRows()))
	return nil
}

// logPuts writes entries of the ring to the log, and gives their space back when they are there.
func (b *Bucket) logPuts(r *ring.Ring, entries []*ring.Entry) error {
	if err := b.useSchema(b.schema); err != nil {
		return b.home.Refuse(err)
	}
	for _, e := range entries {
		done := func(err error) {
			if err == nil {
				r.Free(e.Place)
			} else {
				r.Hold(true)
			}
		}
		if _, err := b.log.Defer(b.encoder.Preamble, b.compressor.Compress([][]byte{e.Message}), e.Rows, done); err != nil {
			return err
		}
	}
	b.log.WriteNow()
	return nil
}

// closeRing removes the ring if nobody needs what is in it, as all rows in memory are in the table, or the log has them.
func (b *Bucket) closeRing(flushed bool) error {
	r := b.ring.Swap(nil)
	if r == nil {
		return nil
	}
	r.Hold(true)
	if r.Empty() || flushed && !r.Pending() {
		if err := b.home.Owned(); err != nil {
			return err
		}
		return os.Remove(b.ringPath())
	}
	return nil
}

// replayRing brings into the log what the last opener left in the ring.
func (b *Bucket) replayRing(s *survey) error {
	if !s.hasRing {
		return nil
	}
	before := b.tail.next
	if err := b.replayPuts(s.preamble, s.entries); err != nil {
		return err
	}
	if rows := b.tail.next - before; rows > 0 {
		b.recovered.replayed += rows
		b.logger.Info("recovered puts that were not in the log", "rows", rows)
	}
	if err := b.home.Owned(); err != nil {
		return err
	}
	if s.ringFault == nil {
		return os.Remove(b.ringPath())
	}
	b.logger.Error("puts that were acknowledged are lost", "error", s.ringFault)
	return statefile.KeepBroken(b.ringPath())
}

// replayPuts stores entries that follow on the log.
func (b *Bucket) replayPuts(preamble []byte, entries []ring.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var d batch.Decoder
	defer d.Close()
	for _, e := range entries {
		rec, err := d.Decode(preamble, e.Message)
		if err != nil {
			return fmt.Errorf("engine: recover puts: %w", err)
		}
		err = b.enter(rec)
		rec.Release()
		if err != nil {
			return err
		}
		if _, err := b.log.Append(preamble, b.compressor.Compress([][]byte{e.Message}), e.Rows, nil); err != nil {
			return b.writeError(err)
		}
	}
	return b.syncLog()
}
