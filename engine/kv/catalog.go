package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

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

// maxCatalogBytes is more than a checkpoint or a journal ever has: 40 bytes for each of 2^32 entries.
const maxCatalogBytes = 1 << 38

// Kinds of frames.
const (
	noFrame = iota
	frameCheckpoint
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

// catalog writes what the index is to the disk. It knows frames and files and not what they mean: that is in checkpoint.go, which
// writes them, and in recover.go, which reads them.
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

// journalPath is the file of a journal. Numbers have eight digits to be listed in order by people; the code sorts them.
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

// append writes a frame to the journal. What it has written is there when the process ends: it is in the kernel, and needs a sync
// against the end of the machine only. After a write that failed nothing more is appended, since a frame behind a torn one would
// never be read.
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

// reader takes frames from a file, one after the other: the largest is that of a segment, so that an opening needs little memory
// beside the index, however large the checkpoint is.
type reader struct {
	c     *catalog
	file  vfs.File
	from  *bufio.Reader
	left  int64 // bytes of the file that are not read
	frame []byte
}

// readerBytes is more than most notes of a journal; larger frames are read into their own memory at once.
const readerBytes = 64 << 10

// read opens a file of frames and returns its size; one that is missing, or larger than any can be, has none. Only the disk makes
// this fail: what is derived may be in any state, and the opening goes on.
func (c *catalog) read(path string) (*reader, int64, error) {
	r := &reader{c: c, from: bufio.NewReader(strings.NewReader(""))}
	f, err := c.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("kv: read: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, fmt.Errorf("kv: read %s: %w", path, errors.Join(err, f.Close()))
	}
	if r.file = f; size <= maxCatalogBytes {
		r.left, r.from = size, bufio.NewReaderSize(io.NewSectionReader(f, 0, size), readerBytes)
	}
	return r, r.left, nil
}

// next reads a frame, whose content is there until the next call. kind is noFrame at the end, and where the rest is too short to
// be one; of a frame that has told its length but is not sound, ok is false and the one behind it is next.
func (r *reader) next() (kind uint16, content []byte, ok bool, err error) {
	var head [frameHead]byte
	if r.left < frameHead {
		return noFrame, nil, r.left == 0, nil
	}
	if short, err := r.fill(head[:]); short || err != nil {
		return noFrame, nil, false, err
	}
	n := int64(le.Uint32(head[4:]))
	if n > r.left {
		return noFrame, nil, false, nil
	}
	r.frame = slices.Grow(r.frame[:0], int(n))[:n]
	if short, err := r.fill(r.frame); short || err != nil {
		return noFrame, nil, false, err
	}
	sum := crc32.Update(crc32.Update(r.c.salt, castagnoli, head[4:]), castagnoli, r.frame)
	return le.Uint16(head[8:]), r.frame, sum == le.Uint32(head[:]), nil
}

// fill reads all of b; short where the file has been cut meanwhile.
func (r *reader) fill(b []byte) (short bool, err error) {
	n, err := io.ReadFull(r.from, b)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("kv: read frames: %w", err)
	}
	return false, nil
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
