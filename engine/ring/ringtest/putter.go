package ringtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	head, tail, hold = 64, 128, 136

	entries    = 65536
	entryBytes = 24
)

// Putter writes entries into the ring of a file.
type Putter struct {
	memory   []byte
	capacity uint64
	salt     uint32
}

// Open maps the ring.
func Open(path string) (*Putter, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &Putter{memory, binary.LittleEndian.Uint64(memory[48:]), binary.LittleEndian.Uint32(memory[56:])}, nil
}

// Close lets go of the file.
func (p *Putter) Close() error { return unix.Munmap(p.memory) }

func (p *Putter) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&p.memory[at])) }

// Used is the bytes that are not free.
func (p *Putter) Used() uint64 {
	return atomic.LoadUint64(p.word(head)) - atomic.LoadUint64(p.word(tail))
}

// Held says that puts have to call the engine.
func (p *Putter) Held() bool { return atomic.LoadUint64(p.word(hold)) != 0 }

// SetHead moves the place behind the newest entry.
func (p *Putter) SetHead(place uint64) { atomic.StoreUint64(p.word(head), place) }

// Put writes an entry; false if there is no room for it now.
func (p *Putter) Put(message []byte, rows, first int64) bool {
	from := atomic.LoadUint64(p.word(head))
	at, size := from%p.capacity, uint64(entryBytes+len(message)+7)&^7
	end := from + size
	wraps := at+size > p.capacity
	if wraps {
		end += p.capacity - at
	}
	if end-atomic.LoadUint64(p.word(tail)) > p.capacity {
		return false
	}
	if wraps {
		binary.LittleEndian.PutUint32(p.memory[entries+at+4:], 0xffffffff)
		at = 0
	}
	b := p.memory[entries+at:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(message)))
	binary.LittleEndian.PutUint64(b[8:], uint64(rows))
	binary.LittleEndian.PutUint64(b[16:], uint64(first))
	copy(b[entryBytes:], message)
	binary.LittleEndian.PutUint32(b, crc32.Update(p.salt, crc32.IEEETable, b[4:entryBytes+len(message)]))
	p.SetHead(end)
	return true
}
