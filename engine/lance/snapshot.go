package lance

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
)

// Snapshot is one version of a table. It does not change, and it can be read
// while newer versions are made. It is counted by reference: whoever got it
// from a Table releases it once.
type Snapshot struct {
	dir  string
	info info
	refs atomic.Int64

	handle snapshotHandle

	once sync.Once
	cols *columns
	err  error
}

type info struct {
	version   uint64
	nextRowID int64
	rows      int64
	fragments int
	dataBytes int64
	schema    uint64 // the same number means the same schema, in one table
}

// newSnapshot takes over handle. known are the columns of another snapshot of
// the table, or nil.
func newSnapshot(handle snapshotHandle, dir string, known *columns) (*Snapshot, error) {
	i, err := nativeInfo(handle)
	if err != nil {
		nativeCloseSnapshot(handle)
		return nil, err
	}
	s := &Snapshot{dir: dir, info: i, handle: handle}
	s.refs.Store(1)
	if known != nil && known.number == i.schema {
		s.once.Do(func() { s.cols = known })
	}
	return s, nil
}

// Retain adds a reference. The caller must hold one.
func (s *Snapshot) Retain() { s.refs.Add(1) }

// Release gives a reference back; the last one frees the snapshot.
func (s *Snapshot) Release() {
	if s.refs.Add(-1) == 0 {
		nativeCloseSnapshot(s.handle)
	}
}

// hold takes a reference for a call, unless the last one is gone.
func (s *Snapshot) hold() error {
	for {
		n := s.refs.Load()
		if n <= 0 {
			return ErrClosed
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// Version returns the version's number.
func (s *Snapshot) Version() uint64 { return s.info.version }

// NextRowID returns the row id that the row appended next gets: all rows have
// smaller ones.
func (s *Snapshot) NextRowID() int64 { return s.info.nextRowID }

// Rows returns how many rows there are.
func (s *Snapshot) Rows() int64 { return s.info.rows }

// Fragments returns how many fragments hold them.
func (s *Snapshot) Fragments() int { return s.info.fragments }

// DataBytes returns the size of the data files.
func (s *Snapshot) DataBytes() int64 { return s.info.dataBytes }

// Schema returns the columns as they were put, or nil when the snapshot is
// released or its schema cannot be read.
func (s *Snapshot) Schema() *arrow.Schema {
	c, err := s.columns()
	if err != nil {
		return nil
	}
	return c.original
}

func (s *Snapshot) columns() (*columns, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	s.once.Do(func() {
		stored, err := nativeSchema(s.handle)
		if err == nil {
			s.cols, err = newColumns(stored, s.info.schema)
		}
		s.err = in(s.dir, err)
	})
	return s.cols, s.err
}

// Read returns a reader of the rows with ids in [first, first+count), in that
// order, in batches of at most batchRows rows (0: 8192), fewer where rows are
// large. columns picks columns (nil: all).
func (s *Snapshot) Read(first, count int64, columns []string, batchRows int) (*Reader, error) {
	return s.read(first, count, columns, batchRows, false)
}

// ReadNow is Read of all columns in one batch, if it can be done without the disk:
// the rows are few, and what they need of the files is in memory. Else it fails
// with ErrWouldBlock. The reader does not wait either.
func (s *Snapshot) ReadNow(first, count int64) (*Reader, error) {
	return s.read(first, count, nil, int(count), true)
}

func (s *Snapshot) read(first, count int64, columns []string, batchRows int, noWait bool) (*Reader, error) {
	if first < 0 || count < 0 || batchRows < 0 {
		return nil, fmt.Errorf("%w: read of %d rows from %d in batches of %d", ErrInvalid, count, first, batchRows)
	}
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	schema, stored, err := s.project(columns)
	if err != nil {
		return nil, err
	}
	handle, err := nativeRead(s.handle, first, count, stored, batchRows, noWait)
	if err != nil {
		return nil, in(s.dir, err)
	}
	return &Reader{dir: s.dir, schema: schema, handle: handle}, nil
}

// Take returns the rows with the given ids in the order given, repeats
// included. It fails with ErrRowNotFound when one is not there.
func (s *Snapshot) Take(ids []int64, columns []string) (arrow.Record, error) {
	return s.take(ids, columns, false)
}

// TakeNow is Take of all columns, if it can be done without the disk; see ReadNow.
func (s *Snapshot) TakeNow(ids []int64) (arrow.Record, error) {
	return s.take(ids, nil, true)
}

func (s *Snapshot) take(ids []int64, columns []string, noWait bool) (arrow.Record, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	schema, stored, err := s.project(columns)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return emptyRecord(schema), nil
	}
	record, err := nativeTake(s.handle, ids, stored, noWait, schema)
	if e := new(Error); errors.As(err, &e) && errors.Is(err, fs.ErrNotExist) {
		e.Err = ErrRowNotFound
	}
	return record, in(s.dir, err)
}

func (s *Snapshot) project(names []string) (*arrow.Schema, []string, error) {
	c, err := s.columns()
	if err != nil {
		return nil, nil, err
	}
	return c.project(names)
}

// Unfinished returns the paths of the data files that are being made in the
// directory of a table.
func Unfinished(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "data", ".tmp*")) // the pattern is sound
	return paths
}

// ChangedFiles returns the files, relative to the table's directory, that after
// refers to and before (nil: nothing) does not: data, deletion, index and
// transaction files, and last the manifest. Syncing them, and the directories
// that hold them, makes after durable where before is.
func ChangedFiles(before, after *Snapshot) ([]string, error) {
	if err := after.hold(); err != nil {
		return nil, err
	}
	defer after.Release()
	var handle snapshotHandle
	if before != nil {
		if err := before.hold(); err != nil {
			return nil, err
		}
		defer before.Release()
		handle = before.handle
	}
	files, err := nativeChangedFiles(handle, after.handle)
	return files, in(after.dir, err)
}
