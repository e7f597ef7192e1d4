package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

const (
	catalogVersion = 1
	checkpointName = "checkpoint"
	journalPrefix  = "journal-"
	frameHead      = 10
	entryBytes     = 32

	checkpointBytes = 28 // of the frame that begins a checkpoint
)

// Kinds of frames.
const (
	frameCheckpoint = iota + 1
	frameOwner
	frameQuota
	frameSegment
	frameEnd
	framePublish
	frameDead
	frameChange
	frameEmptied
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// errJournal is returned while the journal cannot be written.
var errJournal = errors.New("kv: the journal could not be written; the next checkpoint replaces it")

// catalog writes what the index is to the disk.
type catalog struct {
	fs   vfs.FS
	dir  string
	salt uint32 // begins the checksums of all frames

	mu      sync.Mutex
	file    vfs.File
	number  uint64 // of the journal that is written
	size    int64
	pending int64 // bytes of all journals that the checkpoint on the disk does not have
	broken  bool  // the journal has an end that is not sound
	dirty   bool  // written to since the last sync
}

// appendFrame adds a frame to b.
func (c *catalog) appendFrame(b []byte, kind uint16, content []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, uint32(len(content)))
	b = le.AppendUint16(b, kind)
	b = append(b, content...)
	le.PutUint32(b[at:], crc32.Update(c.salt, castagnoli, b[at+4:]))
	return b
}

// nextFrame reads the frame that b begins with. Of one that is not sound, rest is what is behind it if it has told its length.
func (c *catalog) nextFrame(b []byte) (kind uint16, content, rest []byte, ok bool) {
	if len(b) < frameHead {
		return 0, nil, nil, false
	}
	n := uint64(le.Uint32(b[4:]))
	if n > uint64(len(b)-frameHead) {
		return 0, nil, nil, false
	}
	end := frameHead + int(n)
	ok = crc32.Update(c.salt, castagnoli, b[4:end]) == le.Uint32(b)
	return le.Uint16(b[8:]), b[frameHead:end], b[end:], ok
}

func (c *catalog) journalPath(number uint64) string {
	return filepath.Join(c.dir, fmt.Sprintf("%s%08d", journalPrefix, number))
}

// journals returns the numbers of the journals that are there, lowest first.
func (c *catalog) journals() ([]uint64, error) {
	names, err := c.fs.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if digits, ok := strings.CutPrefix(name, journalPrefix); ok {
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// append writes a frame to the journal. What it has written is there when the process ends.
func (c *catalog) append(kind uint16, content []byte) error {
	frame := c.appendFrame(make([]byte, 0, frameHead+len(content)), kind, content)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.file == nil {
		return errJournal
	}
	if err := c.file.WriteAt([][]byte{frame}, c.size); err != nil {
		c.broken = true
		return fmt.Errorf("kv: write journal: %w", err)
	}
	c.size += int64(len(frame))
	c.pending += int64(len(frame))
	c.dirty = true
	return nil
}

// rotate begins the next journal and returns its number. Where it fails, the one before goes on.
func (c *catalog) rotate() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.number + 1
	f, err := c.fs.Create(c.journalPath(next))
	if err == nil {
		err = c.fs.SyncDir(c.dir)
	}
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close(), c.fs.Remove(c.journalPath(next)))
		}
		return 0, fmt.Errorf("kv: begin journal: %w", err)
	}
	if old := c.file; old != nil {
		err = errors.Join(c.syncLocked(), old.Close())
	}
	c.file, c.number, c.size, c.broken, c.dirty = f, next, 0, false, false
	return next, err
}

// sync brings the journal to the disk.
func (c *catalog) sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.syncLocked()
}

func (c *catalog) syncLocked() error {
	if !c.dirty || c.file == nil {
		return nil
	}
	if err := c.file.Datasync(); err != nil {
		return fmt.Errorf("kv: sync journal: %w", err)
	}
	c.dirty = false
	return nil
}

// state says how many bytes of journals there are, and whether they can be written.
func (c *catalog) state() (pending int64, broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending, c.broken || c.file == nil
}

// forget removes the journals that a checkpoint has made needless.
func (c *catalog) forget(before uint64) error {
	numbers, err := c.journals()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n >= before {
			break
		}
		if e := c.fs.Remove(c.journalPath(n)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before <= c.number {
		c.pending = c.size
	} else {
		c.pending = 0
	}
	return err
}

func (c *catalog) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.file
	c.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// writer gives frames to a file in large pieces.
type writer struct {
	c    *catalog
	file vfs.File
	at   int64
	b    []byte
	err  error
}

const writerBytes = 1 << 20

func (w *writer) frame(kind uint16, content []byte) {
	w.b = w.c.appendFrame(w.b, kind, content)
	if len(w.b) >= writerBytes {
		w.flush()
	}
}

func (w *writer) flush() {
	if w.err == nil && len(w.b) > 0 {
		w.err = w.file.WriteAt([][]byte{w.b}, w.at)
	}
	w.at += int64(len(w.b))
	w.b = w.b[:0]
}

// checkpoint writes the index, from which a journal on is to be replayed, and removes the journals before. clean says that
// nothing is written afterwards.
func (s *Store) checkpoint(clean bool) error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
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
	s.checkpointed = s.o.now()
	s.doubts.settle(sequence)
	return s.catalog.forget(first)
}

func (s *Store) writeIndex(w *writer, clean bool, first, sequence uint64) {
	segments := s.allSegments()
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

// segmentContent is a segment with its entries; nil once it is gone.
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

func appendEntry(b []byte, e *entry) []byte {
	b = le.AppendUint64(b, e.hash)
	for _, field := range []uint32{e.page, e.length, e.sum, e.expires, e.state, 0} {
		b = le.AppendUint32(b, field)
	}
	return b
}

func readEntry(b []byte) entry {
	return entry{
		hash:    le.Uint64(b),
		page:    le.Uint32(b[8:]),
		length:  le.Uint32(b[12:]),
		sum:     le.Uint32(b[16:]),
		expires: le.Uint32(b[20:]),
		state:   le.Uint32(b[24:]),
	}
}

func ownerContent(o *owner) []byte {
	b := le.AppendUint32(nil, o.number)
	b = le.AppendUint32(b, uint32(len(o.namespace)))
	return append(append(b, o.namespace...), o.salt...)
}

func quotaContent(salt string, quota int64) []byte {
	return append(le.AppendUint64(nil, uint64(quota)), salt...)
}

// placeContent says which block a note is about.
func placeContent(g *segment, page uint32) []byte {
	b := le.AppendUint32(make([]byte, 0, 24), g.Slot)
	return le.AppendUint32(le.AppendUint64(b, g.Epoch()), page)
}

// notePublish writes to the journal that a block is there, and first whose it is.
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
