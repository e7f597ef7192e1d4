package kv

import "github.com/persisting/persisting/engine/blob"

// loan is a block that is sent from its segment, in which the caller is a user.
type loan struct {
	segment *segment
	hash    uint64
	ref     uint32
	page    uint32
}

// lend is load for a reader that compares the payload with its checksum itself.
func (s *Store) lend(o *owner, key []byte, total uint64) (loan, int8) {
	hash := o.hash(key)
	t := s.index.shard(hash)
	for {
		t.mu.Lock()
		e, ref := s.look(t, hash)
		if e == nil {
			t.mu.Unlock()
			return loan{}, s.miss(hash)
		}
		if uint64(e.length) != total {
			t.mu.Unlock()
			s.stats.missedLength.Add(1)
			return loan{}, Length
		}
		want := blob.Want{Page: e.page, Length: e.length, Namespace: o.namespace, Key: key}
		s.read(e)
		g := s.segmentOf(ref)
		g.users.Add(1)
		t.mu.Unlock()
		err := g.Check(want)
		if err == nil {
			return loan{g, hash, ref, want.Page}, OK
		}
		g.leave()
		if s.has(hash, ref, want.Page) {
			return loan{}, s.bad(hash, ref, want.Page, err)
		}
	}
}

// renew gives a lease to what a hash refers to.
func (s *Store) renew(hash uint64, upTo uint32) {
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, _ := s.look(t, hash); e != nil {
		e.lease = max(e.lease, upTo)
	}
}
