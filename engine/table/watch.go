package table

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/statefile"
)

// ErrMoved is returned when a table changed while it was looked at.
var ErrMoved = errors.New("engine: the bucket changes faster than it can be looked at")

// Watch is a table that another process may be changing, for reading, in a directory that is only looked at. It has no
// version before the first [Table.LookAgain], and it changes nothing.
func Watch(home *statefile.Dir, o Options) *Table {
	t := newTable(home, o)
	t.watches = true
	return t
}

// LookAgain finds the newest version that is on disk, as an open would, and what keeps it from being opened; the marker of the
// table is that of then. The version is held, see [lance.Hold], and nil where that is the one that reads see, or there is none;
// they see it once it is published. A change that comes between is [ErrMoved]: then another look is due.
func (t *Table) LookAgain() (*lance.Snapshot, error) {
	seen, err := Look(t.home, t.o)
	if err != nil {
		return nil, err
	}
	defer seen.Close()
	t.mu.Lock()
	// Even where the version is the same, as its tags may not be.
	t.marker, t.tagged = seen.marker, seen.tagged
	t.mu.Unlock()
	head := seen.found.State.Head()
	if head == nil {
		return nil, nil
	}
	// Versions above that of a marker which does not say that the table changes are there to be read, unless it does by now.
	if again, err := ReadMarker(t.home.FS, t.home.Path); err != nil || again.state.Sequence != seen.marker.state.Sequence {
		return nil, errors.Join(ErrMoved, err)
	}
	before := t.Newest()
	if before != nil {
		defer before.Release()
		switch {
		case before.Version() == head.Number:
			return nil, nil
		case before.Version() > head.Number:
			return nil, fmt.Errorf("%w: the table went back from version %d to %d, as a repair does it; open it again", engine.ErrDisowned, before.Version(), head.Number)
		}
	}
	snapshot, err := lance.Hold(t.path, head.Number, before, t.o.Config)
	if errors.Is(err, fs.ErrNotExist) { // newer ones have made it needless
		return nil, fmt.Errorf("%w: %w", ErrMoved, err)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: open version %d: %w", head.Number, err)
	}
	return snapshot, nil
}

// Joined returns a version that has, after the rows of newest, which [Table.LookAgain] has returned, those of batches with the columns
// of schema. It is in memory; where newest is nil all of it is.
func (t *Table) Joined(newest *lance.Snapshot, schema *arrow.Schema, batches []arrow.Record) (*lance.Snapshot, error) {
	// What is in memory for one query is not worth to be compressed.
	quick := lance.Config{Compression: "none"}
	if newest == nil {
		table, err := lance.CreateInMemory(t.path, schema, quick, batches...)
		if err != nil {
			return nil, fmt.Errorf("engine: make table in memory: %w", err)
		}
		return last(table)
	}
	table, err := newest.InMemory(quick)
	if err != nil {
		return nil, fmt.Errorf("engine: make table in memory: %w", err)
	}
	err = widen(table, schema)
	if err == nil {
		var made *lance.Snapshot
		if made, err = table.Append(batches); err == nil {
			made.Release()
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine: append to table in memory: %w", err), table.Close())
	}
	return last(table)
}

// Same says that the rows that two versions both have are the same in them, and have the same columns.
func Same(a, b *lance.Snapshot) bool {
	whole := func(s *lance.Snapshot) bool { return s.Rows() == s.NextRowID() }
	// Where rows were removed in either, which ones would have to be compared: it is taken for a
	// change, and costs the pages that were read.
	return a.SchemaNumber() == b.SchemaNumber() && whole(a) && whole(b) && batch.SameColumns(a.Schema(), b.Schema())
}
