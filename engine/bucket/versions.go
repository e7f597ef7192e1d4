package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// Version is a version of the table that is on disk.
type Version struct {
	Number uint64    `json:"version"`
	Time   time.Time `json:"time"`
	Rows   int64     `json:"rows"` // that are left in it
	Tags   []string  `json:"tags"`
}

// Versions lists the versions that are there, the oldest first. Compactions remove
// those that are neither tagged nor in use.
func (b *Bucket) Versions() ([]Version, error) {
	table, newest, err := b.committed()
	if err != nil || table == nil {
		return []Version{}, err
	}
	tags, err := b.tags()
	if err != nil {
		return nil, err
	}
	commits, err := table.Commits()
	if err != nil {
		return nil, fmt.Errorf("engine: list versions: %w", err)
	}
	versions := []Version{}
	for _, c := range commits {
		if c.Version > newest {
			break // not on disk yet
		}
		v := Version{Number: c.Version, Time: c.Time.UTC(), Rows: c.Rows, Tags: []string{}}
		for name, t := range tags {
			if t.Version == c.Version {
				v.Tags = append(v.Tags, name)
			}
		}
		slices.Sort(v.Tags)
		versions = append(versions, v)
	}
	return versions, nil
}

// committed returns the table, nil if there is none, and its newest version that is
// on disk.
func (b *Bucket) committed() (*lance.Table, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, 0, engine.ErrClosed
	}
	if b.snapshot == nil {
		return nil, 0, nil
	}
	return b.table, b.snapshot.Version(), nil
}

// View is one version of a bucket's table, which stays as long as it is open. Its
// methods may be called from any goroutine, until Close.
type View struct{ snapshot *lance.Snapshot }

// At opens a version for reading, which fails with [ErrNotFound] when it is not
// there. The view outlives the bucket.
func (b *Bucket) At(version uint64) (*View, error) {
	table, newest, err := b.committed()
	if err != nil {
		return nil, err
	}
	if table == nil || version == 0 || version > newest {
		return nil, fmt.Errorf("%w: version %d, the newest is %d", engine.ErrNotFound, version, newest)
	}
	if err := b.home.Owned(); err != nil { // it is read by path
		return nil, err
	}
	s, err := table.Checkout(version)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: version %d was removed; a tag keeps a version", engine.ErrNotFound, version)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: open version %d: %w", version, err)
	}
	return &View{s}, nil
}

// Number returns the version's number.
func (w *View) Number() uint64 { return w.snapshot.Version() }

// Rows returns how many rows are left, and the offset after the last one.
func (w *View) Rows() (rows, end int64) { return w.snapshot.Rows(), w.snapshot.NextRowID() }

// Schema returns the columns.
func (w *View) Schema() *arrow.Schema { return w.snapshot.Schema() }

// Read is [Bucket.Read] of the version, and [Bucket.ReadRun] with run.
func (w *View) Read(offset, count int64, run bool) (*Cursor, error) {
	if offset < 0 || count < 0 {
		return nil, fmt.Errorf("%w: offset %d and count %d must not be negative", engine.ErrNotFound, offset, count)
	}
	w.snapshot.Retain()
	v := &view{schema: w.snapshot.Schema(), snapshot: w.snapshot, visible: w.snapshot.NextRowID(), unpin: w.snapshot.Release}
	v.first = min(offset, v.visible)
	v.end = v.first + min(count, v.visible-v.first)
	v.memory = v.end
	c := &Cursor{schema: v.schema}
	var err error
	if run {
		err = v.left()
	}
	if err == nil {
		c.offsets, err = v.runs()
	}
	if err == nil {
		c.reader, err = v.snapshot.Read(v.first, v.memory-v.first, nil, streamRows)
	}
	if err != nil {
		v.unpin()
		return nil, fmt.Errorf("engine: read version %d: %w", w.Number(), err)
	}
	c.unpin = v.unpin
	return c, nil
}

// Query is [Bucket.Query] of the version.
func (w *View) Query(q Query, vector []float64) (*Cursor, error) {
	w.snapshot.Retain()
	return answer(w.snapshot, w.snapshot.Release, q, vector)
}

// Count is [Bucket.Count] of the version.
func (w *View) Count(filter string) (int64, error) {
	n, err := w.snapshot.Count(filter)
	return n, fault(err)
}

// Explain is [Bucket.Explain] of the version.
func (w *View) Explain(q Query, vector []float64) (string, error) {
	plan, err := w.snapshot.Explain(q, vector)
	return plan, fault(err)
}

// Close lets go of the version; cursors go on.
func (w *View) Close() error {
	w.snapshot.Release()
	return nil
}

// Restore gives the bucket the columns and the rows of an old version. Rows that
// came later are removed; offsets are not given again.
func (b *Bucket) Restore(version uint64) error {
	view, err := b.At(version)
	if err != nil {
		return err
	}
	defer view.snapshot.Release()
	return b.alter(
		func(*arrow.Schema) error { return nil },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.Restore(version) },
	)
}
