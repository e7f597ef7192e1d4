package ring

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/statefile"
	"golang.org/x/sys/unix"
)

const (
	formatVersion = 1

	headAt    = 64
	tailAt    = 128
	holdAt    = 136
	watchedAt = 144
	preambleAt,
	preambleText = 4096, 4104
	entriesAt = 64 << 10

	flagLogged = 1

	entryBytes = 24
	noMore     = 0xffffffff

	// Capacity is the size of the entries of a ring.
	Capacity = 1 << 20
	// MaxPreamble is the largest preamble.
	MaxPreamble = entriesAt - preambleText

	fileBytes = entriesAt + Capacity
)

var (
	magic = [8]byte{0x89, 'P', 'R', 'N', 'G', '\r', '\n', 0x1a}
	order = binary.LittleEndian
)

// ErrDamaged says that a ring does not hold what was put into it.
var ErrDamaged = errors.New("ring: damaged")

// Entry is a put.
type Entry struct {
	First, Rows int64
	Message     []byte // in the file, until Free
	Place       uint64 // behind it
}

// Ring is the engine's side of a ring. Take, Free and Begin are for one goroutine at a time.
type Ring struct {
	memory []byte
	salt   uint32
	next   atomic.Uint64 // the place of the next entry to take
}

// Create makes an empty ring, in place of the one that may be there. Logged says that its rows leave it for a log.
func Create(path string, bucket [16]byte, logged bool) (*Ring, error) {
	head := make([]byte, entriesAt)
	copy(head, magic[:])
	order.PutUint32(head[8:], formatVersion)
	copy(head[16:], bucket[:])
	boot := statefile.BootID()
	copy(head[32:], boot[:])
	order.PutUint64(head[48:], Capacity)
	_, _ = rand.Read(head[56:60]) // never fails
	if logged {
		order.PutUint32(head[60:], flagLogged)
	}
	order.PutUint32(head[12:], crc32.ChecksumIEEE(head[16:64]))
	temp := path + ".tmp"
	f, err := os.Create(temp)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	defer f.Close()
	// Space that is only reserved could be missing when a page of it is written.
	// Not synced: a ring is worth nothing after a power failure that the log would not be worth as
	// well.
	_, err = f.Write(append(head, make([]byte, Capacity)...))
	var memory []byte
	if err == nil {
		memory, err = unix.Mmap(int(f.Fd()), 0, fileBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return nil, fmt.Errorf("ring: make %s: %w", path, err)
	}
	r := &Ring{memory: memory, salt: order.Uint32(head[56:])}
	runtime.AddCleanup(r, func(memory []byte) { _ = unix.Munmap(memory) }, memory)
	return r, nil
}

// Begin gives the ring, which must be empty, the preamble of the entries to come.
func (r *Ring) Begin(preamble []byte) error {
	if !r.Empty() {
		return errors.New("ring: not empty")
	}
	if len(preamble) > MaxPreamble {
		return fmt.Errorf("ring: a preamble of %d bytes, want at most %d", len(preamble), MaxPreamble)
	}
	// The ring is empty, so nobody reads it by another preamble meanwhile.
	order.PutUint32(r.memory[preambleAt:], crc32.Update(r.salt, crc32.IEEETable, preamble))
	order.PutUint32(r.memory[preambleAt+4:], uint32(len(preamble)))
	copy(r.memory[preambleText:], preamble)
	return nil
}

// Take returns the next entry that was not taken, nil if there is none now.
func (r *Ring) Take() (e *Entry, err error) {
	// Where the machine does not keep the order of the putter's stores, the head may be seen before the entry.
	for range 100 {
		if e, err = r.take(); err == nil {
			break
		}
		time.Sleep(10 * time.Microsecond)
	}
	return e, err
}

func (r *Ring) take() (*Entry, error) {
	head, next := r.load(headAt), r.next.Load()
	// The file may be written by anyone who can write in the directory: each number of it is looked
	// at before it is an index.
	if head-next > Capacity {
		return nil, r.damaged("its entries reach from place %d to %d", next, head)
	}
	for next != head {
		at := next % Capacity
		b := r.memory[entriesAt+at : entriesAt+Capacity]
		if rest := uint64(len(b)); rest < entryBytes || order.Uint32(b[4:]) == noMore {
			if head-next < rest {
				return nil, r.damaged("no entry at place %d", next)
			}
			next += rest
			continue
		}
		length := uint64(order.Uint32(b[4:]))
		size := (entryBytes + length + 7) &^ 7
		if size > uint64(len(b)) || size > head-next {
			return nil, r.damaged("an entry of %d bytes at place %d", size, next)
		}
		b = b[:entryBytes+length]
		// By zlib's polynomial, which the putter's language has at hand. It begins with the salt,
		// so that an entry of an older ring in the same space is none.
		if crc32.Update(r.salt, crc32.IEEETable, b[4:]) != order.Uint32(b) {
			return nil, r.damaged("checksum of the entry at place %d", next)
		}
		e := &Entry{Rows: int64(order.Uint64(b[8:])), First: int64(order.Uint64(b[16:])), Message: b[entryBytes:], Place: next + size}
		if e.Rows < 1 || e.First < 0 {
			return nil, r.damaged("%d rows from offset %d on in the entry at place %d", e.Rows, e.First, next)
		}
		// Atomic, as the bucket asks without its lock whether there is anything.
		r.next.Store(e.Place)
		return e, nil
	}
	return nil, nil
}

func (r *Ring) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Pending says that there is something to take.
func (r *Ring) Pending() bool { return r.load(headAt) != r.next.Load() }

// Empty says that the putter may have all of the ring.
func (r *Ring) Empty() bool { return r.load(headAt) == r.load(tailAt) }

// Free gives the putter the space of the entries up to place.
func (r *Ring) Free(place uint64) { r.store(tailAt, place) }

// Hold has the putter call the engine for each put, or lets it be.
func (r *Ring) Hold(on bool) { r.store(holdAt, flag(on)) }

// Watch tells the putter whether the engine looks for entries by itself.
func (r *Ring) Watch(on bool) { r.store(watchedAt, flag(on)) }

func flag(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}

func (r *Ring) load(at int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&r.memory[at])))
}

func (r *Ring) store(at int, value uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&r.memory[at])), value)
}
