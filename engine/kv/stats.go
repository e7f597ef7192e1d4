package kv

import (
	"github.com/persisting/persisting/metrics"
)

// Stats is what a store holds, and what it did since it was opened.
type Stats struct {
	Keys          int64   `json:"keys"`
	Bytes         int64   `json:"bytes"`          // that blocks take, headers and padding included
	CapacityBytes int64   `json:"capacity_bytes"` // of the options
	SegmentBytes  int64   `json:"segment_bytes"`
	Segments      int     `json:"segments"` // that exist
	FreeSegments  int     `json:"free_segments"`
	DiskBytes     int64   `json:"disk_bytes"` // of all segments
	PinnedBytes   int64   `json:"pinned_bytes"`
	Amplification float64 `json:"write_amplification"`

	Hits          int64            `json:"hits"`
	ReadBytes     int64            `json:"read_bytes"`
	Misses        map[string]int64 `json:"misses"` // by cause
	Sets          int64            `json:"sets"`
	NotStored     map[string]int64 `json:"not_stored"` // sets by cause
	WrittenBytes  int64            `json:"written_bytes"`
	MovedBytes    int64            `json:"moved_bytes"`
	Evicted       int64            `json:"evicted"`
	EvictedBytes  int64            `json:"evicted_bytes"`
	Deleted       int64            `json:"deleted"`
	Expired       int64            `json:"expired"`
	WriteErrors   int64            `json:"write_errors"`
	QueuedLoads   int              `json:"queued_loads"`
	QueuedStores  int              `json:"queued_stores"`
	StoreBacklog  int64            `json:"store_backlog_bytes"`
	RecoveryWalks int64            `json:"recovery_walks"` // segments whose headers the opening read

	Namespaces map[string]Usage `json:"namespaces"`
	Salts      map[string]Usage `json:"salts"`
	InUseBy    string           `json:"in_use_by,omitempty"` // who had it open when it was opened read-only

	Disconnected string `json:"disconnected,omitempty"` // of a client: why it cannot ask its server
}

// Usage is what a namespace or a salt takes.
type Usage struct {
	Keys       int64 `json:"keys"`
	Bytes      int64 `json:"bytes"`
	QuotaBytes int64 `json:"quota_bytes,omitempty"`
}

// Report is Stats, which a store can always give.
func (s *Store) Report() (Stats, error) { return s.Stats(), nil }

// Stats returns them.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		CapacityBytes: s.o.CapacityBytes,
		SegmentBytes:  s.blobs.SegmentBytes,
		PinnedBytes:   s.pinned.Load(),
		Hits:          c.hits.Load(),
		ReadBytes:     c.readBytes.Load(),
		Misses: map[string]int64{
			"absent": c.missedAbsent.Load(), "length": c.missedLength.Load(), "damaged": c.missedDamaged.Load(),
			"failed": c.missedFailed.Load(), "late": c.missedLate.Load(),
		},
		Sets: c.sets.Load(),
		NotStored: map[string]int64{
			"present": c.setPresent.Load(), "failed": c.setFailed.Load(), "refused": c.setRefused.Load(),
			"full": c.setFull.Load(), "shed": c.setShed.Load(),
		},
		WrittenBytes: c.writtenBytes.Load(),
		MovedBytes:   c.movedBytes.Load(),
		Evicted:      c.evicted.Load(),
		EvictedBytes: c.evictedBytes.Load(),
		Deleted:      c.deleted.Load(),
		Expired:      c.expired.Load(),
		WriteErrors:  c.writeErrors.Load(),
		Namespaces:   map[string]Usage{},
		Salts:        map[string]Usage{},
		InUseBy:      s.inUseBy,
	}
	st.QueuedLoads, _ = s.mover.Loads.Length()
	st.QueuedStores, st.StoreBacklog = s.mover.Stores.Length()
	st.RecoveryWalks = s.walks
	s.addUsage(&st)
	s.rings.mu.Lock()
	st.Segments, st.FreeSegments = s.rings.count, len(s.rings.free)
	s.rings.mu.Unlock()
	st.DiskBytes = int64(st.Segments) * s.blobs.SegmentBytes
	st.Amplification = 1
	if st.WrittenBytes > 0 {
		st.Amplification += float64(st.MovedBytes) / float64(st.WrittenBytes)
	}
	return st
}

// metricsState is the same for a scrape.
func (s *Store) metricsState() metrics.StoreState {
	st := s.Stats()
	return metrics.StoreState{
		Hits: st.Hits, Absent: st.Misses["absent"], OtherLength: st.Misses["length"], Damaged: st.Misses["damaged"],
		Unread: st.Misses["failed"], Late: st.Misses["late"],
		Sets: st.Sets, Present: st.NotStored["present"], Unwritten: st.NotStored["failed"], Refused: st.NotStored["refused"],
		Full: st.NotStored["full"], Shed: st.NotStored["shed"],
		ReadBytes: st.ReadBytes, WrittenBytes: st.WrittenBytes, MovedBytes: st.MovedBytes,
		Evicted: st.Evicted, EvictedBytes: st.EvictedBytes, Expired: st.Expired, Deleted: st.Deleted, WriteErrors: st.WriteErrors,
		Keys: st.Keys, Bytes: st.Bytes, DiskBytes: st.DiskBytes, CapacityBytes: st.CapacityBytes, PinnedBytes: st.PinnedBytes,
		QueuedLoads: int64(st.QueuedLoads), QueuedStores: int64(st.QueuedStores), BacklogBytes: st.StoreBacklog,
	}
}

func (s *Store) addUsage(st *Stats) {
	_, quotas := s.owners.usage()
	for _, o := range s.owners.all() {
		keys, bytes := o.keys.Load(), o.bytes.Load()
		st.Keys += keys
		st.Bytes += bytes
		n := st.Namespaces[o.namespace]
		st.Namespaces[o.namespace] = Usage{Keys: n.Keys + keys, Bytes: n.Bytes + bytes}
		u := st.Salts[o.salt]
		st.Salts[o.salt] = Usage{Keys: u.Keys + keys, Bytes: u.Bytes + bytes, QuotaBytes: quotas[o.salt]}
	}
}

// Key is a key of a listing.
type Key struct {
	Key    []byte `json:"key"`
	Salt   string `json:"salt"`
	Length uint32 `json:"length"`
	Pinned bool   `json:"pinned"`
}

// Page is a page of a listing.
type Page struct {
	Keys []Key   `json:"keys"`
	Next *Cursor `json:"next"`
}

// Cursor is where a listing goes on; the zero value is its beginning.
type Cursor struct {
	Slot  uint32 `json:"slot"`
	Entry uint32 `json:"entry"`
}

// Keys returns up to limit keys of a namespace and where the next page begins, nil at the end. Keys that come or go meanwhile may
// be in a listing or not. Keys are read from the disk, a page for each.
func (s *Store) Keys(namespace string, from Cursor, limit int) ([]Key, *Cursor, error) {
	if !s.enter() {
		return nil, nil, ErrClosed
	}
	defer s.exit()
	var keys []Key
	for ; int(from.Slot) < len(s.index.segments); from = (Cursor{Slot: from.Slot + 1}) {
		for {
			h, next, ok := s.nextKey(namespace, from)
			if !ok {
				break
			}
			if len(keys) == limit {
				return keys, &from, nil
			}
			from = next
			if h != nil {
				keys = append(keys, *h)
			}
		}
	}
	return keys, nil, nil
}

// nextKey reads the key of the next live entry of a segment; nil where it cannot be read. ok is false at the end of the segment.
func (s *Store) nextKey(namespace string, from Cursor) (key *Key, next Cursor, ok bool) {
	g, e, next := s.nextEntry(from, func(o *owner) bool { return o.namespace == namespace })
	if g == nil {
		return nil, next, false
	}
	defer g.leave()
	h, err := g.Header(e.page)
	if err != nil || h.Namespace != namespace {
		return nil, next, true
	}
	return &Key{Key: h.Key, Salt: h.Salt, Length: h.Length, Pinned: e.pinned()}, next, true
}

// nextEntry finds the next live entry of such an owner in a segment, of which the caller is a user then.
func (s *Store) nextEntry(from Cursor, of func(*owner) bool) (*segment, entry, Cursor) {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	g := s.index.segments[from.Slot]
	if g == nil {
		return nil, entry{}, from
	}
	for i := from.Entry; i < g.entryCount(); i++ {
		e := g.entries.at(i)
		t := s.index.shard(e.hash)
		t.mu.Lock()
		found := *e
		t.mu.Unlock()
		if found.live() && !found.expired(s.seconds()) && of(s.owners.get(found.owner())) {
			g.users.Add(1)
			return g, found, Cursor{Slot: from.Slot, Entry: i + 1}
		}
	}
	return nil, entry{}, from
}
