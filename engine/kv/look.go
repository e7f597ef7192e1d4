package kv

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/statefile"
)

// errOvertaken is returned where a new checkpoint has come while the journals were read: some of those that the one before needs
// may have been removed.
var errOvertaken = errors.New("kv: the owner of the store writes checkpoints faster than they can be read")

// lookTries is how often that is begun anew. Checkpoints come every 30 seconds, or when the journals are as long as the index.
const lookTries = 10

// look opens a store for one who only looks. It reads what an opening after a crash of the owner would read, and takes no lock:
// a checkpoint is replaced as a whole, the journal grows at its end, where a torn frame is the end, and each block is compared
// with its header. Nothing is written.
func look(dir string, o Options) (*Store, error) {
	for range lookTries {
		s := newStore(dir, o)
		err := s.lookOnce()
		if err == nil {
			s.start()
			return s, nil
		}
		if err = errors.Join(err, s.release()); !errors.Is(err, errOvertaken) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("kv: look at %s: %w", dir, errOvertaken)
}

func (s *Store) lookOnce() error {
	if err := s.identify(); err != nil {
		return err
	}
	if !s.o.unlocked {
		var err error
		if s.inUseBy, err = statefile.HolderOf(s.dir); err != nil {
			return fmt.Errorf("kv: look: %w", err)
		}
	}
	_, err := s.recover()
	return err
}

// overtaken says whether there is another checkpoint by now than the one that was read.
func (r *recovery) overtaken() bool {
	first, sequence := r.s.checkpointHead()
	return first != r.first || sequence != r.sequence
}

// checkpointHead reads which checkpoint there is: from which journal on it wants them, and its sequence; 0 where there is none.
func (s *Store) checkpointHead() (first, sequence uint64) {
	f, err := s.o.FS.Open(filepath.Join(s.dir, checkpointName))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	b := make([]byte, frameHead+checkpointBytes)
	if n, err := f.ReadAt(b, 0); n < len(b) || err != nil {
		return 0, 0
	}
	kind, content, _, ok := s.catalog.nextFrame(b)
	if !ok || kind != frameCheckpoint {
		return 0, 0
	}
	return le.Uint64(content[8:]), le.Uint64(content[16:])
}

// replaced says whether a block that cannot be read was replaced, deleted or overwritten by the owner of a store that is looked
// at, in place of being damaged.
func (s *Store) replaced(ref, page uint32) bool {
	g := s.segmentOf(ref)
	h, err := g.Header(page)
	return err == nil && h.Dead || g.Refilled()
}

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
