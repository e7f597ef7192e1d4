package mirror

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"unsafe"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

const (
	magic       = 0x31726f7272696d70 // "pmirror1"
	headerBytes = 4096
	firstBytes  = 256 << 10 // of the file of a new segment: a store of few steps takes little room
)

// segment is a mapped file of rows.
type segment struct {
	file   vfs.File
	memory []byte       // of a whole segment; what lies behind the end of the file must not be touched
	size   atomic.Int64 // of the file
	rows   atomic.Int64 // that can be read
	sum    uint32       // of these, of the one goroutine that appends
}

// header is what is known of a segment before it is mapped.
type header struct {
	magic, layout, number, bits uint64
	state                       uint64 // how many rows << 32 | their checksum
}

const headerSize = 40

func parseHeader(b []byte) header {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return header{word(0), word(1), word(2), word(3), word(4)}
}

// end is the number behind the last row.
func (h header) end() int64 { return int64(h.number<<h.bits + h.state>>32) }

// readHeader reads the header of a file; one that is too short for any is all zeros.
func readHeader(filesystem vfs.FS, path string) (h header, err error) {
	f, err := filesystem.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); errors.Is(err, io.EOF) {
		return h, nil
	} else if err != nil {
		return h, err
	}
	return parseHeader(b), nil
}

// createSegment makes the file of a segment, which has no rows.
func createSegment(filesystem vfs.FS, path string, number int64, l *Layout) (*segment, error) {
	f, err := filesystem.Create(path)
	if err != nil {
		return nil, err
	}
	size := min(firstBytes, l.fileBytes())
	if err := f.Preallocate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s, err := mapSegment(f, size, l)
	if err != nil {
		return nil, err
	}
	for i, word := range []uint64{magic, l.sum(), uint64(number), uint64(l.bits)} {
		binary.LittleEndian.PutUint64(s.memory[8*i:], word)
	}
	return s, nil
}

// openSegment maps the file of a segment; nil where it is no sound one of that number and layout.
func openSegment(filesystem vfs.FS, path string, number int64, l *Layout) (*segment, error) {
	f, err := filesystem.OpenWrite(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil || size < headerBytes || size > l.fileBytes() {
		return nil, errors.Join(err, f.Close())
	}
	s, err := mapSegment(f, size, l)
	if err != nil {
		return nil, err
	}
	h := parseHeader(s.memory)
	rows := int64(h.state >> 32)
	if h.magic != magic || h.layout != l.sum() || h.number != uint64(number) || h.bits != uint64(l.bits) ||
		headerBytes+rows*l.stride > size {
		return nil, s.close()
	}
	s.sum = crc32.Checksum(s.row(0, l)[:rows*l.stride], castagnoli)
	if s.sum != uint32(h.state) {
		return nil, s.close()
	}
	s.rows.Store(rows)
	return s, nil
}

// mapSegment maps a file, which is the segment's then; it is closed where it cannot be mapped.
func mapSegment(f vfs.File, size int64, l *Layout) (*segment, error) {
	described, ok := f.(vfs.Described)
	if !ok {
		return nil, errors.Join(fmt.Errorf("mirror: %T has no descriptor to be mapped", f), f.Close())
	}
	memory, err := unix.Mmap(described.Descriptor(), 0, int(l.fileBytes()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &segment{file: f, memory: memory}
	s.size.Store(size)
	return s, nil
}

// grow makes the file long enough for rows, by doubling it. Room that is there before it is written to cannot be missing
// later, which would end the process.
func (s *segment) grow(rows int64, l *Layout) error {
	size, least := s.size.Load(), headerBytes+rows*l.stride
	if least <= size {
		return nil
	}
	for size < least {
		size *= 2
	}
	size = min(size, l.fileBytes())
	if err := s.file.Preallocate(size); err != nil {
		return err
	}
	s.size.Store(size)
	return nil
}

func (s *segment) close() error { return errors.Join(unix.Munmap(s.memory), s.file.Close()) }

// fileBytes is the size of the file of a segment that is full.
func (l *Layout) fileBytes() int64 { return headerBytes + l.stride<<l.bits }

// row is the memory from a row of the segment on.
func (s *segment) row(i int64, l *Layout) []byte { return s.memory[headerBytes+i*l.stride:] }

// count makes rows that were written behind the others ones that can be read.
func (s *segment) count(rows int64, l *Layout) {
	before := s.rows.Load()
	s.sum = crc32.Update(s.sum, castagnoli, s.row(before, l)[:rows*l.stride])
	// One word, so that no crash leaves a number of rows with the checksum of others.
	state := (*atomic.Uint64)(unsafe.Pointer(&s.memory[8*4]))
	state.Store(uint64(before+rows)<<32 | uint64(s.sum))
	s.rows.Store(before + rows)
}
