package kv

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// checkpoint writes the index, from which a journal on is to be replayed, and removes the journals before. clean says that
// nothing is written afterwards.
func (s *Store) checkpoint(clean bool) error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	// Read before anything else: a block with a higher one may or may not be in what is written now, and is looked for.
	sequence := s.sequence.Load()
	first, err := s.catalog.rotate()
	if first == 0 {
		return err
	}
	if err := s.syncSegments(); err != nil {
		return err
	}
	path := filepath.Join(s.dir, checkpointName)
	err = statefile.Replace(s.o.FS, path, func(f vfs.File) error {
		w := &writer{c: &s.catalog, file: f}
		s.writeIndex(w, clean, first, sequence)
		w.flush()
		if w.err != nil {
			return w.err
		}
		return f.Sync()
	})
	if err != nil {
		return fmt.Errorf("kv: checkpoint: %w", err)
	}
	s.checkpointed = s.o.Now()
	s.doubts.settle(sequence)
	return s.catalog.forget(first)
}

// writeIndex writes all frames of a checkpoint. Owners come first, since the entries name them by number; segments are in the order of
// their turns, which the next opening keeps.
func (s *Store) writeIndex(w *writer, clean bool, first, sequence uint64) {
	segments := s.allSegments()
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.turn.Load(), b.turn.Load()) })
	head := le.AppendUint32(nil, catalogVersion)
	head = le.AppendUint32(head, map[bool]uint32{true: 1}[clean])
	head = le.AppendUint64(head, first)
	head = le.AppendUint64(head, sequence)
	w.frame(frameCheckpoint, le.AppendUint32(head, uint32(len(segments))))
	for _, o := range s.owners.all() {
		w.frame(frameOwner, ownerContent(o))
		o.noted.Store(true)
	}
	_, quotas := s.owners.usage()
	for salt, quota := range quotas {
		w.frame(frameQuota, quotaContent(salt, quota))
	}
	for _, g := range segments {
		if content := s.segmentContent(g); content != nil {
			w.frame(frameSegment, content)
		}
	}
	w.frame(frameEnd, nil)
}

// openBit says of a segment, beside its ring, that it was being filled.
const openBit = 1 << 8

// segmentContent is a segment with its entries; nil once it is gone. Each segment is seen as it is at one moment, under the lock of
// recycling, so that none is written half emptied; different ones are seen at different moments, which the journal makes good.
func (s *Store) segmentContent(g *segment) []byte {
	s.recycling.Lock()
	defer s.recycling.Unlock()
	if s.index.segments[g.Slot] != g {
		return nil
	}
	ring := g.Ring()
	if s.rings.isOpen(g) {
		ring |= openBit
	}
	n := g.entryCount()
	b := make([]byte, 28, 28+int(n)*entryBytes)
	le.PutUint32(b, g.Slot)
	le.PutUint32(b[4:], ring)
	le.PutUint64(b[8:], g.Epoch())
	le.PutUint32(b[16:], g.Used())
	for i := range n {
		e := g.entries.at(i)
		t := s.index.shard(e.hash) // of an entry that exists, the hash never changes
		t.mu.Lock()
		if e.live() {
			b = appendEntry(b, e)
		}
		t.mu.Unlock()
	}
	le.PutUint32(b[20:], uint32(len(b)-28)/entryBytes)
	return b
}

// notePublish writes to the journal that a block is there, and first whose it is. Two may write the owner at once, which says the
// same twice.
func (s *Store) notePublish(g *segment, sequence uint64, e *entry) error {
	if o := s.owners.get(e.owner()); !o.noted.Load() {
		if err := s.catalog.append(frameOwner, ownerContent(o)); err != nil {
			return err
		}
		o.noted.Store(true)
	}
	b := le.AppendUint32(make([]byte, 0, 20+entryBytes), g.Slot)
	b = le.AppendUint64(b, g.Epoch())
	b = le.AppendUint64(b, sequence)
	return s.catalog.append(framePublish, appendEntry(b, e))
}

// lastCheckpoint is when the last one was written, or the store was opened.
func (s *Store) lastCheckpoint() time.Time {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	return s.checkpointed
}

// journalLimit bounds what an opening has to replay: about as much as there is in the index.
func (s *Store) journalLimit() int64 {
	var keys int64
	for _, o := range s.owners.all() {
		keys += o.keys.Load()
	}
	return max(1<<20, keys*entryBytes/2)
}

// checkpointHead reads which checkpoint there is: from which journal on it wants them, and its sequence; 0 where there is none.
func (s *Store) checkpointHead() (first, sequence uint64) {
	frames, _, err := s.catalog.read(filepath.Join(s.dir, checkpointName))
	if err != nil {
		return 0, 0
	}
	defer frames.close()
	kind, content, ok, err := frames.next()
	if err != nil || !ok || kind != frameCheckpoint || len(content) < checkpointBytes {
		return 0, 0
	}
	return le.Uint64(content[8:]), le.Uint64(content[16:])
}
