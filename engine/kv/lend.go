package kv

import (
	"errors"
	"net"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
)

// Loan is a block that is lent, to be sent from its segment: that is not filled anew, and the store not closed, before Return.
type Loan struct {
	store   *Store
	segment *segment
	hash    uint64
	ref     uint32
	page    uint32
	length  uint32
	begun   time.Time
}

// Lend lends the block of a key that has total bytes, if its header is what it has to be; the payload is for the receiver to
// compare with its checksum. Where the result is not OK there is nothing to return.
func (s *Store) Lend(space uint32, key []byte, total int64) (*Loan, int8, error) {
	if !s.enter() {
		return nil, transfer.Failed, ErrClosed
	}
	o, err := s.space(space)
	if err != nil {
		s.exit()
		return nil, transfer.Failed, err
	}
	begun := s.o.Now()
	l, result := s.lend(o, key, total, (*segment).Check)
	l.store, l.begun = s, begun
	if result != transfer.OK {
		l.end()
		return nil, result, nil
	}
	return &l, transfer.OK, nil
}

// Send writes header page and payload to a connection. It is counted as a hit where all was taken; a block that the disk does
// not give is forgotten. What was begun cannot be taken back, so that the connection is of no use after an error.
func (l *Loan) Send(to net.Conn) error {
	err := l.segment.Send(to, l.page, l.length)
	if errors.Is(err, blob.ErrDisk) {
		l.store.bad(l.hash, l.ref, l.page, err)
	}
	if err == nil {
		l.store.stats.hits.Add(1)
		l.store.stats.readBytes.Add(int64(l.length))
	}
	return err
}

// Return gives the block back.
func (l *Loan) Return() {
	l.segment.leave()
	l.end()
}

func (l *Loan) end() {
	l.store.metrics.LoadDone(l.store.o.Now().Sub(l.begun))
	l.store.exit()
}

// lend has read look at the block of a key that has total bytes, and lends it where that found nothing wrong. Where another set or
// a delete comes between, what there is after it is looked at: the block that it replaced says that it was, which is no damage.
func (s *Store) lend(o *owner, key []byte, total int64, read func(*segment, blob.Want) error) (Loan, int8) {
	hash := o.hash(key)
	t := s.index.shard(hash)
	for {
		t.mu.Lock()
		e, ref := s.look(t, hash)
		if e == nil {
			t.mu.Unlock()
			return Loan{}, s.miss(hash)
		}
		if int64(e.length) != total {
			t.mu.Unlock()
			s.stats.missedLength.Add(1)
			return Loan{}, transfer.Length
		}
		want := blob.Want{Page: e.page, Length: e.length, Namespace: o.namespace, Key: key}
		s.read(e)
		g := s.segmentOf(ref)
		g.users.Add(1)
		t.mu.Unlock()
		err := read(g, want)
		if err == nil {
			return Loan{store: s, segment: g, hash: hash, ref: ref, page: want.Page, length: want.Length}, transfer.OK
		}
		g.leave()
		if s.has(hash, ref, want.Page) {
			return Loan{}, s.bad(hash, ref, want.Page, err)
		}
	}
}

// miss counts a key that is not there.
func (s *Store) miss(hash uint64) int8 {
	s.stats.missedAbsent.Add(1)
	if s.o.Admission == "second_hit" {
		s.sketch.seen(hash)
	}
	return transfer.Absent
}

// bad counts a block that could not be read and forgets it, so that nobody tries it for ever.
func (s *Store) bad(hash uint64, ref, page uint32, err error) int8 {
	if s.o.ReadOnly && errors.Is(err, blob.ErrBlock) && s.replaced(ref, page) {
		return s.miss(hash)
	}
	s.o.Logger.Warn("a block cannot be read", "error", err)
	result, counter := transfer.Failed, &s.stats.missedFailed
	if errors.Is(err, blob.ErrBlock) {
		result, counter = transfer.Damaged, &s.stats.missedDamaged
	}
	counter.Add(1)
	stripe := &s.keys[hash%stripes]
	stripe.Lock()
	defer stripe.Unlock()
	t := s.index.shard(hash)
	t.mu.Lock()
	e := s.lookAt(t, hash, ref, page)
	if e == nil {
		t.mu.Unlock()
		return result
	}
	g := s.segmentOf(ref)
	note := placeContent(g, page)
	s.dropLocked(t, g, e)
	t.mu.Unlock()
	// After a failure of the disk, the next opening may try it again.
	if result == transfer.Failed || s.catalog.append(frameDead, note) != nil {
		s.doubts.add(hash, s.sequence.Load())
	}
	return result
}
