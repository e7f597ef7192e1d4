package lance

// #include "persisting_native.h"
import "C"

import "github.com/apache/arrow/go/v17/arrow"

// Hold opens one version of the table in dir, which another process may be changing, and
// all its files: they stay readable whoever removes them, and take a descriptor each as
// long as a snapshot has them. It only reads the disk. Before, unless nil, is another
// version that was opened like that: files that both have are opened once, and numbers of
// schemas are those of both. It fails with fs.ErrNotExist when a file is gone already.
func Hold(dir string, version uint64, before *Snapshot, cfg Config) (*Snapshot, error) {
	var known snapshotHandle
	var columns *columns
	if before != nil {
		if err := before.hold(); err != nil {
			return nil, err
		}
		defer before.Release()
		known = before.handle
		columns, _ = before.columns() // those of this version are read where they are not known
	}
	handle, err := native("hold", func(out *snapshotHandle, e *owned) status {
		return C.pn_snapshot_hold(cText(dir), C.uint64_t(version), known, cTableOptions(cfg), out, e)
	})
	if err != nil {
		return nil, in(dir, err)
	}
	s, err := newSnapshot(handle, dir, columns)
	return s, in(dir, err)
}

// InMemory returns a table whose newest version is this one, which [Hold] has opened, and
// whose changes are in memory alone.
func (s *Snapshot) InMemory(cfg Config) (*Table, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	return inMemory(s.dir, cfg, func(out *tableHandle, e *owned) status {
		return C.pn_table_in_memory(s.handle, cText(s.dir), cTableOptions(cfg), out, e)
	})
}

// CreateInMemory is [Create] of a table in memory; in dir nothing is made.
func CreateInMemory(dir string, schema *arrow.Schema, cfg Config, batches ...arrow.Record) (*Table, error) {
	stored, err := creatable(dir, schema, cfg, batches)
	if err != nil {
		return nil, err
	}
	return inMemory(dir, cfg, func(out *tableHandle, e *owned) status {
		return C.pn_table_create_in_memory(cText(dir), cRows(batches...), cSchema(stored), cTableOptions(cfg), out, e)
	})
}

func inMemory(dir string, cfg Config, open func(out *tableHandle, e *owned) status) (*Table, error) {
	handle, err := native("open in memory", open)
	if err != nil {
		return nil, in(dir, err)
	}
	// Without a table of lancedb, which knows no memory: whatever goes through that is not to be
	// done to it.
	t := &Table{dir: dir, compression: cfg.compressions(), handle: handle}
	if err := t.begin(); err != nil {
		C.pn_table_close(handle, nil)
		return nil, in(dir, err)
	}
	return t, nil
}
