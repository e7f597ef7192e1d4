package lance

// #include "persisting_native.h"
import "C"

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
	i, err := native("info", func(out *C.struct_pn_snapshot_info, e *owned) status {
		return C.pn_snapshot_info(handle, out, e)
	})
	if err != nil {
		C.pn_snapshot_close(handle, nil)
		return nil, err
	}
	s := &Snapshot{dir: dir, handle: handle, info: info{
		version:   uint64(i.version),
		nextRowID: int64(i.next_row_id),
		rows:      int64(i.rows),
		fragments: int(i.fragments),
		dataBytes: int64(i.data_bytes),
		schema:    uint64(i.schema),
	}}
	// The caller's, who releases it once.
	s.refs.Store(1)
	// Most versions have the columns of the one before: to read a schema takes longer than to
	// append a row.
	if known != nil && known.number == s.info.schema {
		s.once.Do(func() { s.cols = known })
	}
	return s, nil
}

// Retain adds a reference. The caller must hold one.
func (s *Snapshot) Retain() { s.refs.Add(1) }

// Release gives a reference back; the last one frees the snapshot.
func (s *Snapshot) Release() {
	if s.refs.Add(-1) == 0 {
		C.pn_snapshot_close(s.handle, nil)
	}
}

// hold takes a reference for a call, unless the last one is gone.
func (s *Snapshot) hold() error {
	for {
		n := s.refs.Load()
		// Counted by compare and swap: an Add would bring a snapshot back whose handle is freed.
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

// SchemaNumber returns a number that is the same for the same schema, in one table.
func (s *Snapshot) SchemaNumber() uint64 { return s.info.schema }

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
		stored, err := nativeSchema("schema", func(out *C.struct_ArrowSchema, e *owned) status {
			return C.pn_snapshot_schema(s.handle, out, e)
		})
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
	handle, err := native("read", func(out *readerHandle, e *owned) status {
		return C.pn_snapshot_read(s.handle, C.int64_t(first), C.int64_t(count), cNames(stored),
			C.int64_t(batchRows), cFlag(noWait), out, e)
	})
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
	// Not asked for, since Lance makes no batch of no rows.
	if len(ids) == 0 {
		return emptyRecord(schema), nil
	}
	record, err := nativeRecord("take", schema, func(out *C.struct_ArrowArray, e *owned) status {
		return C.pn_snapshot_take(s.handle, cIDs(ids), cNames(stored), cFlag(noWait), out, e)
	})
	// The native half says of a row what it says of a file.
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
	files, err := nativeNames("changed files", func(out, e *owned) status {
		return C.pn_changed_files(handle, after.handle, out, e)
	})
	return files, in(after.dir, err)
}
