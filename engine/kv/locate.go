package kv

import (
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// Location is where a payload lies: contiguous, as it was set, at a multiple of 4,096 bytes.
type Location struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Length uint32 `json:"length"`
	Sum    uint32 `json:"crc32c"` // of the payload
}

// Locate says where the blocks of keys lie, nil where there is none, for those who read the files by ways of their own, such as
// into the memory of a GPU. For lease they are not forgotten; the place of a block that is replaced or deleted meanwhile may be
// used for another, which the checksum tells.
func (s *Store) Locate(space uint32, keys [][]byte, lease time.Duration) ([]*Location, error) {
	o, err := s.space(space)
	if err != nil {
		return nil, err
	}
	upTo := s.leaseUpTo(lease)
	all := make([]*Location, len(keys))
	for i, key := range keys {
		all[i] = s.locate(o, key, upTo)
	}
	return all, nil
}

func (s *Store) locate(o *owner, key []byte, upTo uint32) *Location {
	hash := o.hash(key)
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ref := s.look(t, hash)
	if e == nil {
		return nil
	}
	e.lease = max(e.lease, upTo)
	s.read(e)
	return &Location{
		Path: absolute(s.blobs.Path(s.segmentOf(ref).Slot)), Offset: int64(e.page+1) * blob.PageBytes, Length: e.length, Sum: e.sum,
	}
}
