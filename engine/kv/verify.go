package kv

import (
	"fmt"

	"github.com/persisting/persisting/engine/blob"
)

// Fault is a block that is not sound.
type Fault struct {
	File      string `json:"file"`
	Byte      int64  `json:"byte"` // where its header begins
	Namespace string `json:"namespace"`
	What      string `json:"what"`
}

// Verified is what Verify found.
type Verified struct {
	Keys   int64   `json:"keys"`
	Bytes  int64   `json:"bytes"` // of their payloads
	Gone   int64   `json:"gone"`  // that went while they were looked at
	Sound  bool    `json:"sound"`
	Faults []Fault `json:"faults"`
}

// Verify reads every block there is and compares it with its checksum, its key and the index. It drops nothing, and may be
// called while the store is used.
func (s *Store) Verify() (Verified, error) {
	if !s.enter() {
		return Verified{}, ErrClosed
	}
	defer s.exit()
	v := Verified{Faults: []Fault{}}
	var buffer []byte
	for slot := range uint32(len(s.index.segments)) {
		for from := (Cursor{Slot: slot}); ; {
			g, e, next := s.nextEntry(from, func(*owner) bool { return true })
			if g == nil {
				break
			}
			if from = next; int64(e.length) > int64(len(buffer)) {
				buffer = make([]byte, e.length)
			}
			s.verifyEntry(&v, g, e, buffer[:e.length])
			g.leave()
		}
	}
	v.Sound = len(v.Faults) == 0
	return v, nil
}

func (s *Store) verifyEntry(v *Verified, g *segment, e entry, buffer []byte) {
	o := s.owners.get(e.owner())
	err := verifyBlock(o, g, e, buffer)
	switch {
	case err == nil:
		v.Keys++
		v.Bytes += int64(e.length)
	case s.left(g, e):
		v.Gone++
	default:
		path := s.blobs.Path(g.Slot)
		v.Faults = append(v.Faults, Fault{File: path, Byte: int64(e.page) * blob.PageBytes, Namespace: o.namespace, What: err.Error()})
	}
}

func verifyBlock(o *owner, g *segment, e entry, buffer []byte) error {
	h, err := g.Header(e.page)
	switch {
	case err != nil:
		return err
	case h.Length != e.length || h.Sum != e.sum || h.Namespace != o.namespace || o.hash(h.Key) != e.hash:
		return fmt.Errorf("%w: it is not the one that the index has", blob.ErrBlock)
	case h.Dead:
		return fmt.Errorf("%w: it is marked as replaced or deleted", blob.ErrBlock)
	}
	return g.Payload(&h, buffer)
}

// left says whether a block is no longer the one of its key.
func (s *Store) left(g *segment, e entry) bool {
	t := s.index.shard(e.hash)
	t.mu.Lock()
	now, ref := s.look(t, e.hash)
	left := now == nil || s.segmentOf(ref) != g || now.page != e.page
	t.mu.Unlock()
	return left || s.o.ReadOnly && s.replaced(ref, e.page)
}
