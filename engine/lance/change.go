package lance

// #include "persisting_native.h"
import "C"

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
)

// FillColumn adds a nullable column at the end, in one commit, that has the one
// value of row, a record of one row and that column, in every row that is there.
// No data file is rewritten: the column gets files of its own.
func (t *Table) FillColumn(row arrow.Record) (*Snapshot, error) {
	f := row.Schema().Field(0)
	return t.fill(f, row, nil)
}

// ComputeColumn adds a nullable column at the end, in one commit, that has the
// value of an SQL expression over the other columns in every row that is there.
// It fails with ErrInvalid when the expression is bad, and with ErrInexact when f
// cannot hold one of its values.
func (t *Table) ComputeColumn(f arrow.Field, expression string) (*Snapshot, error) {
	stored, err := t.columns.Load().sql(expression)
	if err != nil {
		return nil, in(t.dir, err)
	}
	return t.fill(f, nil, &stored)
}

func (t *Table) fill(f arrow.Field, row arrow.Record, expression *string) (*Snapshot, error) {
	// It may be null in rows to come, which bring no such column.
	f.Nullable = true
	stored, err := storedSchema(arrow.NewSchema([]arrow.Field{f}, nil), t.compression)
	if err != nil {
		return nil, err
	}
	if _, ok := t.columns.Load().index[f.Name]; ok {
		return nil, fmt.Errorf("%w: column %q is there already", ErrSchema, f.Name)
	}
	if row != nil {
		if err := CheckValues(row); err != nil {
			return nil, err
		}
	}
	return t.reshape("fill column", func(out *snapshotHandle, e *owned) status {
		var value *C.struct_ArrowArray
		if row != nil {
			value = cRows(row).data
		}
		return C.pn_table_fill_column(t.handle, cField(stored.Field(0)), value, cOptional(expression), out, e)
	})
}

// DropColumn takes a column out, in one commit, without writing data: what it
// takes in the files goes when they are rewritten.
func (t *Table) DropColumn(name string) (*Snapshot, error) {
	stored, err := t.storedName(name)
	if err != nil {
		return nil, err
	}
	return t.reshape("drop column", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_drop_column(t.handle, cText(stored), out, e)
	})
}

// RenameColumn gives a column another name, in one commit, without writing data.
func (t *Table) RenameColumn(name, to string) (*Snapshot, error) {
	old, err := t.storedName(name)
	if err != nil {
		return nil, err
	}
	c := t.columns.Load()
	if _, taken := c.index[to]; taken {
		return nil, fmt.Errorf("%w: column %q is there already", ErrSchema, to)
	}
	f := c.original.Field(c.index[name])
	f.Name = to
	if err := CheckStorable(f); err != nil {
		return nil, err
	}
	stored, err := storedField(f, t.compression)
	if err != nil {
		return nil, err
	}
	return t.reshape("rename column", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_rename_column(t.handle, cText(old), cField(stored), out, e)
	})
}

// RewriteKeys renames a key, or takes it out (nil), in the JSON objects that a
// column of utf8 holds as text. An object that is empty then becomes null.
func (t *Table) RewriteKeys(column, key string, to *string) (*Snapshot, error) {
	stored, err := t.storedName(column)
	if err != nil {
		return nil, err
	}
	return t.reshape("rewrite keys", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_rewrite_keys(t.handle, cText(stored), cText(key), cOptional(to), out, e)
	})
}

func (t *Table) storedName(name string) (string, error) {
	c := t.columns.Load()
	i, ok := c.index[name]
	if !ok {
		return "", fmt.Errorf("%w: no column %q", ErrSchema, name)
	}
	return c.stored[i].Name, nil
}

// Delete deletes the rows for which an SQL filter is true. The others keep their
// row ids, and the next row id stays. It fails with ErrInvalid when the filter is
// bad.
func (t *Table) Delete(filter string) (*Snapshot, error) {
	stored, err := t.columns.Load().sql(filter)
	if err != nil {
		return nil, in(t.dir, err)
	}
	return t.snapshot("delete", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_delete(t.handle, cText(stored), out, e)
	})
}

// DeleteBefore deletes the rows with ids below id.
func (t *Table) DeleteBefore(id int64) (*Snapshot, error) {
	return t.snapshot("delete", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_delete_before(t.handle, C.int64_t(id), out, e)
	})
}

// DeleteRows deletes the rows with these ids, and passes over those that are not there.
func (t *Table) DeleteRows(ids []int64) (*Snapshot, error) {
	return t.snapshot("delete", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_delete_rows(t.handle, cIDs(ids), out, e)
	})
}

// Commit is a version that is there.
type Commit struct {
	Version uint64
	Time    time.Time
	Rows    int64
}

// Commits lists the versions that are there, the oldest first.
func (t *Table) Commits() ([]Commit, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	text, err := nativeText("versions", func(out, e *owned) status { return C.pn_table_versions(t.handle, out, e) })
	if err != nil {
		return nil, in(t.dir, err)
	}
	// As text, which is a few hundred bytes for a list that a person asks for: a struct of C for it
	// would be one more to keep the same on both sides.
	var found []struct {
		Version     uint64
		Nanoseconds int64
		Rows        int64
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return nil, fmt.Errorf("%w: versions of %s: %w", ErrInternal, t.dir, err)
	}
	commits := make([]Commit, len(found))
	for i, v := range found {
		commits[i] = Commit{Version: v.Version, Time: time.Unix(0, v.Nanoseconds), Rows: v.Rows}
	}
	return commits, nil
}

// Checkout returns a version that is there, retained for the caller, or fails
// with fs.ErrNotExist.
func (t *Table) Checkout(version uint64) (*Snapshot, error) {
	return t.snapshot("checkout", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_checkout(t.handle, C.uint64_t(version), out, e)
	})
}

// Restore makes, in one commit, a version with the columns, the rows and the
// indexes of an old one. The next row id stays that of the newest version: ids
// are never given again.
func (t *Table) Restore(version uint64) (*Snapshot, error) {
	return t.reshape("restore", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_restore(t.handle, C.uint64_t(version), out, e)
	})
}

// Place says how many rows have ids below id, and which is the first run of ids
// that are left, [first, end), at or after it. The run is empty, and at the next
// row id, when there is none.
func (s *Snapshot) Place(id int64) (rank, first, end int64, err error) {
	if err := s.hold(); err != nil {
		return 0, 0, 0, err
	}
	defer s.Release()
	// Without a call, as each read asks.
	if s.info.rows == s.info.nextRowID { // nothing was ever deleted
		id = min(id, s.info.rows)
		return id, id, s.info.rows, nil
	}
	place, err := native("seek", func(out *C.struct_pn_place, e *owned) status {
		return C.pn_snapshot_seek(s.handle, C.int64_t(id), out, e)
	})
	return int64(place.rank), int64(place.first), int64(place.end), in(s.dir, err)
}

// BytesFrom says what the rows that are left with ids from id on take in the data
// files: of each file the share that they have of the rows it was written with.
func (s *Snapshot) BytesFrom(id int64) (int64, error) {
	if err := s.hold(); err != nil {
		return 0, err
	}
	defer s.Release()
	bytes, err := native("bytes of rows", func(out *C.int64_t, e *owned) status {
		return C.pn_snapshot_bytes_from(s.handle, C.int64_t(id), out, e)
	})
	return int64(bytes), in(s.dir, err)
}

// ExpressionType returns the type of an SQL expression over the columns, or fails
// with ErrInvalid.
func (s *Snapshot) ExpressionType(expression string) (arrow.DataType, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	c, err := s.columns()
	if err != nil {
		return nil, err
	}
	stored, err := c.sql(expression)
	if err != nil {
		return nil, in(s.dir, err)
	}
	schema, err := nativeSchema("expression", func(out *C.struct_ArrowSchema, e *owned) status {
		return C.pn_snapshot_expression_type(s.handle, cText(stored), out, e)
	})
	if err != nil {
		return nil, in(s.dir, err)
	}
	return schema.Field(0).Type, nil
}
