package table

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// View is one version of a table, which stays as long as it is open. Its
// methods may be called from any goroutine, until Close.
type View struct{ snapshot *lance.Snapshot }

// At opens a version for reading, which fails with [ErrNotFound] when it is not
// there. The view outlives the table.
func (t *Table) At(version uint64) (*View, error) {
	at := t.checkout
	if t.watches {
		at = t.watchedAt
	}
	s, newest, err := at(version)
	if s == nil && err == nil {
		return nil, fmt.Errorf("%w: version %d, the newest is %d", engine.ErrNotFound, version, newest)
	}
	// It was there once, by its number, so that the advice is another than for one that never was.
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: version %d was removed; a tag keeps a version", engine.ErrNotFound, version)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: open version %d: %w", version, err)
	}
	return &View{s}, nil
}

// checkout opens a version, and says which is the newest; nil where there never was such a version.
func (t *Table) checkout(version uint64) (*lance.Snapshot, uint64, error) {
	table, newest, err := t.committed()
	if err != nil || table == nil || version == 0 || version > newest {
		return nil, newest, err
	}
	if err := t.home.Owned(); err != nil { // it is read by path
		return nil, newest, err
	}
	s, err := table.Checkout(version)
	return s, newest, err
}

// Number returns the version's number.
func (w *View) Number() uint64 { return w.snapshot.Version() }

// Rows returns how many rows are left, and the offset after the last one.
func (w *View) Rows() (rows, end int64) { return w.snapshot.Rows(), w.snapshot.NextRowID() }

// Schema returns the columns.
func (w *View) Schema() *arrow.Schema { return w.snapshot.Schema() }

// Read returns the rows [offset, offset+count) that are left, cut to those that exist; with run up to the first one that
// was removed, and with an [*engine.RemovedError] where the one at offset was.
func (w *View) Read(offset, count int64, run bool) (*Cursor, error) {
	if offset < 0 || count < 0 {
		return nil, fmt.Errorf("%w: offset %d and count %d must not be negative", engine.ErrNotFound, offset, count)
	}
	s := w.snapshot
	visible := s.NextRowID()
	first := min(offset, visible)
	end := first + min(count, visible-first)
	var err error
	if run && first < end {
		end, err = Left(s, first, end, visible)
	}
	p := Parts{Schema: s.Schema()}
	if err == nil {
		p.Offsets, err = Runs(s, first, end)
	}
	if err == nil {
		p.Reader, err = s.Read(first, end-first, nil, StreamRows)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: read version %d: %w", w.Number(), err)
	}
	s.Retain()
	p.Unpin = s.Release
	return NewCursor(p), nil
}

// Query returns the rows that q asks for; vector is what a search without a text looks for.
func (w *View) Query(q Query, vector []float64) (*Cursor, error) {
	w.snapshot.Retain()
	return Answer(w.snapshot, w.snapshot.Release, q, vector)
}

// Count returns how many rows pass a filter; all do if it is empty.
func (w *View) Count(filter string) (int64, error) {
	n, err := w.snapshot.Count(filter)
	return n, Fault(err)
}

// Explain returns the plan of a query as text.
func (w *View) Explain(q Query, vector []float64) (string, error) {
	plan, err := w.snapshot.Explain(q, vector)
	return plan, Fault(err)
}

// Close lets go of the version; cursors go on.
func (w *View) Close() error {
	w.snapshot.Release()
	return nil
}

// versioned returns the table of Lance to ask for versions, nil if there is none, and the newest that is on disk; done is called
// at the end.
func (t *Table) versioned() (table *lance.Table, newest uint64, done func() error, err error) {
	nothing := func() error { return nil }
	if !t.watches {
		table, newest, err = t.committed()
		return table, newest, nothing, err
	}
	snapshot := t.Newest()
	if snapshot == nil {
		return nil, 0, nothing, nil
	}
	defer snapshot.Release()
	// Opened for this call alone: Lance lists what the directory has, which its owner changes.
	table, err = lance.Open(t.path, t.o.Config)
	if err != nil {
		return nil, 0, nothing, fmt.Errorf("engine: list versions: %w", err)
	}
	return table, snapshot.Version(), table.Close, nil
}

// watchedAt is At of a table that is watched.
func (t *Table) watchedAt(version uint64) (*lance.Snapshot, uint64, error) {
	newest := t.Newest()
	if newest == nil {
		return nil, 0, nil
	}
	defer newest.Release()
	// Versions above are there, perhaps, and not on the disk as a whole.
	if version == 0 || version > newest.Version() {
		return nil, newest.Version(), nil
	}
	s, err := lance.Hold(t.path, version, newest, t.o.Config)
	return s, newest.Version(), err
}

// last is the newest version of a table that is closed.
func last(table *lance.Table) (*lance.Snapshot, error) {
	s, err := table.Snapshot()
	return s, errors.Join(err, table.Close())
}
