package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/vfs"
)

const suffix = ".seg"

// Mirror is copies of the newest rows of a table.
type Mirror struct {
	fs     vfs.FS
	dir    string
	layout Layout
	most   int64 // segments; 0 for a mirror that keeps none

	mu       sync.RWMutex // held over what reads and writes rows; guards what follows
	segments []*segment   // by number; nil for one that is not there
	zeros    []byte       // a row of zeros; nil once closed
}

// New returns a mirror that keeps no rows: all of them are read by who asks.
func New(l Layout) *Mirror {
	return &Mirror{layout: l, zeros: memory.Allocator.Allocate(int(l.size))}
}

// Open opens the mirror of a directory, which is made if it is missing, with at most so many bytes of rows, but one segment at least.
// What is not sound there, or of rows with another layout, is removed.
func Open(filesystem vfs.FS, dir string, l Layout, bytes int64) (*Mirror, error) {
	m := New(l)
	m.fs, m.dir, m.most = filesystem, dir, max(1, bytes/(l.stride<<l.bits))
	err := filesystem.MkdirAll(dir)
	if err == nil {
		err = m.openSegments()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mirror: open %s: %w", dir, err), m.Close())
	}
	return m, nil
}

// Layout says where fields are.
func (m *Mirror) Layout() *Layout { return &m.layout }

// openSegments maps the segments that are sound and wanted; others are removed.
func (m *Mirror) openSegments() error {
	found, err := numbers(m.fs, m.dir)
	if err != nil || len(found) == 0 {
		return err
	}
	newest := found[len(found)-1]
	for _, n := range found {
		var s *segment
		if n > newest-m.most {
			if s, err = openSegment(m.fs, m.path(n), n, &m.layout); err != nil {
				return err
			}
		}
		if s == nil {
			if err := m.fs.Remove(m.path(n)); err != nil {
				return err
			}
			continue
		}
		m.set(n, s)
	}
	return nil
}

// numbers are those of the segments of a directory, in their order; files that are none are passed over.
func numbers(filesystem vfs.FS, dir string) ([]int64, error) {
	names, err := filesystem.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []int64
	for _, name := range names {
		stem, ok := strings.CutSuffix(name, suffix)
		if n, err := strconv.ParseInt(stem, 10, 32); ok && err == nil && name == fileName(n) {
			found = append(found, n)
		}
	}
	return found, nil
}

func fileName(n int64) string { return fmt.Sprintf("%08d%s", n, suffix) }

func (m *Mirror) path(n int64) string { return filepath.Join(m.dir, fileName(n)) }

// set puts a segment in its place.
func (m *Mirror) set(n int64, s *segment) {
	for int64(len(m.segments)) <= n {
		m.segments = append(m.segments, nil)
	}
	m.segments[n] = s
}

// Forget removes from a directory that is not open the segments that have rows from one on, which the table has not.
func Forget(filesystem vfs.FS, dir string, rows int64) error {
	found, err := numbers(filesystem, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range found {
		path := filepath.Join(dir, fileName(n))
		h, failed := readHeader(filesystem, path)
		if failed != nil {
			err = errors.Join(err, failed)
		} else if h.magic != magic || h.number != uint64(n) || h.bits > 32 || h.end() > rows {
			err = errors.Join(err, filesystem.Remove(path))
		}
	}
	if err != nil {
		return fmt.Errorf("mirror: forget rows of %s: %w", dir, err)
	}
	return nil
}

// Missing returns the first rows that the mirror of a table of so many rows lacks and may have; none is [total, total).
func (m *Mirror) Missing(total int64) (first, end int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	per := int64(1) << m.layout.bits
	for n := max(0, (total-1)>>m.layout.bits-m.most+1); n<<m.layout.bits < total; n++ {
		first, end = n<<m.layout.bits, min((n+1)<<m.layout.bits, total)
		if n < int64(len(m.segments)) && m.segments[n] != nil {
			first += min(m.segments[n].rows.Load(), per)
		}
		if first < end {
			return first, end
		}
	}
	return total, total
}

// Append copies rows that come next, from the number first on. Rows that the mirror has already are an error, and so is a gap, but at
// the begin of a segment.
func (m *Mirror) Append(first int64, columns []Column, count int) error {
	if m.most == 0 {
		return nil
	}
	for done := 0; done < count; {
		n, err := m.fill(first+int64(done), columns, done, count-done)
		if err != nil {
			return fmt.Errorf("mirror: append to %s: %w", m.dir, err)
		}
		done += n
	}
	return nil
}

// fill appends to one segment as many rows as it can take.
func (m *Mirror) fill(row int64, columns []Column, from, count int) (int, error) {
	number, at := row>>m.layout.bits, row&(1<<m.layout.bits-1)
	if err := m.ensure(number); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.zeros == nil {
		return 0, engine.ErrClosed
	}
	s := m.segments[number]
	if have := s.rows.Load(); have != at {
		return 0, fmt.Errorf("row %d comes, and %d is the next one", row, number<<m.layout.bits+have)
	}
	count = min(count, int(1<<m.layout.bits-at))
	if err := s.grow(at+int64(count), &m.layout); err != nil {
		return 0, err
	}
	m.layout.pack(columns, from, count, s.row(at, &m.layout))
	s.count(int64(count), &m.layout)
	return count, nil
}

// ensure makes a segment, unless it is there, and drops the oldest ones for it.
func (m *Mirror) ensure(n int64) error {
	m.mu.RLock()
	closed, there := m.zeros == nil, n < int64(len(m.segments)) && m.segments[n] != nil
	m.mu.RUnlock()
	if closed || there {
		return nil // of a closed one the append is told
	}
	if _, err := m.fs.Stat(m.path(n)); err == nil {
		return fmt.Errorf("%s is there, and nobody but the owner of a store makes it", m.path(n))
	}
	s, err := createSegment(m.fs, m.path(n), n, &m.layout)
	if err != nil {
		return errors.Join(err, m.fs.Remove(m.path(n)))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.zeros == nil {
		return errors.Join(engine.ErrClosed, s.close())
	}
	m.set(n, s)
	for old := range max(0, int64(len(m.segments))-m.most) {
		if m.segments[old] != nil {
			err = errors.Join(err, m.segments[old].close(), m.fs.Remove(m.path(old)))
			m.segments[old] = nil
		}
	}
	return err
}

// Rows is how many rows there are, Bytes what their files take.
func (m *Mirror) Rows() (rows, bytes int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.segments {
		if s != nil {
			rows += s.rows.Load()
			bytes += s.size.Load()
		}
	}
	return rows, bytes
}

// Close lets go of the memory, once nobody has a view. A second call does nothing.
func (m *Mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, s := range m.segments {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	memory.Allocator.Free(m.zeros)
	m.segments, m.zeros = nil, nil
	return err
}

// Remove removes the files of a directory that is not open.
func Remove(filesystem vfs.FS, dir string) error {
	found, err := numbers(filesystem, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range found {
		err = errors.Join(err, filesystem.Remove(filepath.Join(dir, fileName(n))))
	}
	return err
}
