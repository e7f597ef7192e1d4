package sheet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/persisting/persisting/engine/statefile"
	"golang.org/x/sys/unix"
)

const (
	formatVersion = 1

	versionAt  = 8
	sumAt      = 12
	bootAt     = 16
	rowsAt     = 32
	heapAt     = 40
	lengthAt   = 48
	cellsAt    = 56
	episodeAt  = 64
	firstAt    = 72
	countAt    = 80
	preambleAt = 4096

	pageBytes = 4096

	// MaxRows is how many rows a sheet can have at most.
	MaxRows = 1 << 16
	// MaxBytes is how large a sheet is at most.
	MaxBytes = 1 << 30
)

var (
	magic      = [8]byte{0x89, 'P', 'S', 'H', 'T', '\r', '\n', 0x1a}
	order      = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrDamaged says that a sheet does not hold what was put into it.
var ErrDamaged = errors.New("sheet: damaged")

// Sheet is the engine's side of a sheet.
type Sheet struct {
	memory  []byte
	schema  *arrow.Schema
	columns []column
	rows    int64
}

// Create makes an empty sheet, in place of the one that may be there, for so many rows, and for so many bytes of the values of each
// column of any length.
func Create(path string, schema *arrow.Schema, rows, heap int64) (*Sheet, error) {
	if rows < 1 || rows > MaxRows || heap < 0 || heap > MaxBytes {
		return nil, fmt.Errorf("sheet: %d rows and %d bytes, want 1 to %d and 0 to %d", rows, heap, MaxRows, MaxBytes)
	}
	var preamble bytes.Buffer
	if err := ipc.NewWriter(&preamble, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("sheet: columns: %w", err)
	}
	cells := int64(preambleAt+preamble.Len()+pageBytes-1) / pageBytes * pageBytes
	columns, size, err := layout(schema, rows, heap, cells)
	if err != nil {
		return nil, err
	}
	if size > MaxBytes {
		return nil, fmt.Errorf("sheet: %d rows have %d bytes, want at most %d", rows, size, MaxBytes)
	}
	content := make([]byte, size)
	copy(content, magic[:])
	order.PutUint32(content[versionAt:], formatVersion)
	boot := statefile.BootID()
	copy(content[bootAt:], boot[:])
	order.PutUint64(content[rowsAt:], uint64(rows))
	order.PutUint64(content[heapAt:], uint64(heap))
	order.PutUint64(content[lengthAt:], uint64(preamble.Len()))
	order.PutUint64(content[cellsAt:], uint64(cells))
	copy(content[preambleAt:], preamble.Bytes())
	order.PutUint32(content[sumAt:], sum(content, preamble.Len()))
	memory, err := mapFile(path, content)
	if err != nil {
		return nil, fmt.Errorf("sheet: make %s: %w", path, err)
	}
	s := &Sheet{memory: memory, schema: schema, columns: columns, rows: rows}
	runtime.AddCleanup(s, func(memory []byte) { _ = unix.Munmap(memory) }, memory)
	return s, nil
}

// mapFile makes a file of that content and maps it.
func mapFile(path string, content []byte) (memory []byte, err error) {
	temporary := path + ".tmp"
	f, err := os.Create(temporary)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// All of it is written: space that is only reserved could be missing when a page of it is. Not synced: a sheet is worth nothing
	// after a failure of the power.
	if _, err = f.Write(content); err == nil {
		memory, err = unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return memory, nil
}

// sum is the checksum of the header and of a preamble of that length.
func sum(content []byte, length int) uint32 {
	return crc32.Update(crc32.Checksum(content[bootAt:episodeAt], castagnoli), castagnoli, content[preambleAt:][:length])
}

// Parse reads what a sheet had when its process ended; nil for one of another boot of the machine, which is worth nothing.
func Parse(content []byte) (*Sheet, error) {
	if len(content) < preambleAt || len(bytes.Trim(content[:preambleAt], "\x00")) == 0 {
		return nil, nil // it was being made when the machine stopped
	}
	length := order.Uint64(content[lengthAt:])
	boot := statefile.BootID()
	switch {
	case !bytes.Equal(content[:versionAt], magic[:]):
		return nil, damaged("not the first bytes of a sheet")
	case order.Uint32(content[versionAt:]) != formatVersion:
		return nil, fmt.Errorf("sheet: it has version %d, this is version %d", order.Uint32(content[versionAt:]), formatVersion)
	case boot == [16]byte{} || !bytes.Equal(content[bootAt:rowsAt], boot[:]):
		return nil, nil
	case length > uint64(len(content)-preambleAt) || order.Uint32(content[sumAt:]) != sum(content, int(length)):
		return nil, damaged("checksum of its header")
	}
	r, err := ipc.NewReader(bytes.NewReader(content[preambleAt:][:length]))
	if err != nil {
		return nil, damaged("its columns: %w", err)
	}
	defer r.Release()
	s := &Sheet{memory: content, schema: r.Schema(), rows: int64(order.Uint64(content[rowsAt:]))}
	var size int64
	s.columns, size, err = layout(s.schema, s.rows, int64(order.Uint64(content[heapAt:])), int64(order.Uint64(content[cellsAt:])))
	if err != nil || size != int64(len(content)) {
		return nil, damaged("%d bytes, want %d (%v)", len(content), size, err)
	}
	return s, nil
}

func damaged(format string, values ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, values...))
}

// Count is how many rows there are.
func (s *Sheet) Count() int64 { return int64(atomic.LoadUint64(s.word(countAt))) }

// Clear gives the putter all of the sheet, which waits for that.
func (s *Sheet) Clear() { atomic.StoreUint64(s.word(countAt), 0) }

func (s *Sheet) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&s.memory[at])) }

// Place is to what episode the rows belong, and where the first one does.
func (s *Sheet) Place() (episode uint32, first int64, err error) {
	number, place := *s.word(episodeAt), *s.word(firstAt)
	if number > math.MaxUint32 || place > math.MaxInt64 {
		return 0, 0, damaged("step %d of episode %d", place, number)
	}
	return uint32(number), int64(place), nil
}

// Rows copies rows out. The caller releases them.
func (s *Sheet) Rows(from, to int64) (arrow.Record, error) {
	// The file may be written by anyone who can write in the directory: each number of it is looked at before it is an index.
	if from < 0 || from > to || to > s.rows {
		return nil, damaged("rows %d to %d of %d", from, to, s.rows)
	}
	for i := range s.columns {
		if err := s.columns[i].check(s.memory, to); err != nil {
			return nil, damaged("column %q: %w", s.schema.Field(i).Name, err)
		}
	}
	columns := make([]arrow.Array, len(s.columns))
	for i := range s.columns {
		values := s.columns[i].read(s.memory, from, to)
		columns[i] = array.MakeFromData(values)
		values.Release()
		defer columns[i].Release()
	}
	return array.NewRecord(s.schema, columns, to-from), nil
}
