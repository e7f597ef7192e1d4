package table

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/statefile"
)

// Options says how a table is kept.
type Options struct {
	// Config says how columns that are made are compressed.
	Config lance.Config

	// Salvage gives up what is damaged and does not keep the rows from being read: what tags name.
	Salvage bool

	// Logger is told of what is put in order. The default discards.
	Logger *slog.Logger

	// Changed is called when there is a newer version to read. It must not wait. The default does nothing.
	Changed func()

	// Wrote is told the size of each file that was written. The default is not told.
	Wrote func(bytes int64)

	// Panicked is called with the error of a panic in what the table does of its own accord. The default has
	// writes refused.
	Panicked func(cause error)
}

// Table is a Lance table in the directory of a store.
type Table struct {
	o       Options
	home    *statefile.Dir
	path    string // of what Lance keeps
	watches bool   // it is another's, see Watch
	marker  *Marker
	sums    *sums
	tagged  *statefile.Register // versions that tags name
	found   Found               // when it was opened

	// Reshaping is held by whoever changes what the table is made of, and not which rows it has: one compaction, or
	// change of the indexes or the tags, at a time.
	Reshaping sync.Mutex

	// What follows is of this opener alone, Reshaping guards it, and no version of the table says it: the table tells how many
	// fragments, versions and rows without an index there are, and not which of them the last work has seen and left alone. Without
	// it the same work would be found due at each flush, and end with nothing each time. A new opener begins with zeros, and so with
	// one look more.
	indexedTo int64 // rows in the table when its indexes last took some in
	tidied    struct {
		fragments int64  // that the last compaction left
		version   uint64 // that was the newest when old ones were last removed
	}

	// Growing is held by whoever changes the rows or the columns, or removes old files: one at a time.
	Growing sync.Mutex
	unsure  bool // an append failed, and may have happened all the same; Growing guards it

	// syncing is held while one change of the table is brought to disk and marked. Reshaping comes before Growing, that before
	// syncing, and mu last.
	syncing sync.Mutex
	stopped atomic.Bool

	mu       sync.Mutex      // guards what follows; it is held for assignments alone
	table    *lance.Table    // nil until the first append
	snapshot *lance.Snapshot // newest version that is on disk and published; nil without a table
	indexing Indexing
	closed   bool
}

func newTable(home *statefile.Dir, o Options) *Table {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Panicked == nil {
		o.Panicked = func(cause error) { _ = home.Refuse(cause) }
	}
	return &Table{o: o, home: home, path: filepath.Join(home.Path, Dir), sums: newSums(home.FS, home.Path)}
}

// Path is where Lance keeps the table.
func (t *Table) Path() string { return t.path }

// Marker is the marker of the table.
func (t *Table) Marker() *Marker { return t.marker }

// Newest returns the newest version that is on disk and published, retained, or nil where there is none.
func (t *Table) Newest() *lance.Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshot != nil {
		t.snapshot.Retain()
	}
	return t.snapshot
}

// Publish makes a version that a commit has returned the one that reads see, unless a newer one is. It takes over the
// reference to snapshot.
func (t *Table) Publish(snapshot *lance.Snapshot) {
	// A compaction and a flush end in any order; reads must not go back to the older of the two. A closed table takes none, as nobody
	// would release it.
	t.mu.Lock()
	newer := !t.closed && (t.snapshot == nil || snapshot.Version() > t.snapshot.Version())
	if newer {
		t.snapshot, snapshot = snapshot, t.snapshot
	}
	t.mu.Unlock()
	if snapshot != nil {
		snapshot.Release() // without the lock, as the last release of a version frees what it holds
	}
	if newer {
		t.o.Changed()
	}
}

// committed returns the table of Lance, nil if there is none, and its newest version that is on disk.
func (t *Table) committed() (*lance.Table, uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, 0, engine.ErrClosed
	}
	if t.snapshot == nil {
		return nil, 0, nil
	}
	return t.table, t.snapshot.Version(), nil
}

// lance returns the table of Lance, nil if there is none.
func (t *Table) lance() *lance.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table
}

// Schema returns the columns of the newest version, nil where there is none.
func (t *Table) Schema() *arrow.Schema {
	newest := t.Newest()
	if newest == nil {
		return nil
	}
	defer newest.Release()
	return newest.Schema()
}

// Commits lists the versions that Lance has, the oldest first, those that are not on disk for certain among them.
func (t *Table) Commits() ([]lance.Commit, error) {
	table := t.lance()
	if table == nil {
		return nil, nil
	}
	// By Lance, which lists its directory: versions that were committed and not marked are among
	// them.
	return table.Commits()
}

// Stop ends builds of indexes, which may take minutes. The table is about to be closed.
func (t *Table) Stop() {
	t.stopped.Store(true)
	if table := t.lance(); table != nil {
		table.CancelIndexes()
	}
}

// Close lets go of the table. Nothing may be changing it; snapshots that others hold stay.
func (t *Table) Close() error {
	t.stopped.Store(true)
	t.mu.Lock()
	table, snapshot := t.table, t.snapshot
	// Taken out under the lock and closed outside of it: to close a table waits for what Lance does
	// in the background.
	t.table, t.snapshot, t.closed = nil, nil, true
	t.mu.Unlock()
	if snapshot != nil {
		snapshot.Release()
	}
	var err error
	if table != nil {
		err = table.Close()
	}
	return errors.Join(err, t.marker.Close(), t.sums.close())
}

// Found is what a table is opened with.
type Found struct {
	State  lance.State
	Rows   int64         // ids of rows are below
	Schema *arrow.Schema // nil where there is no table

	tagsLost bool // a salvage forgets what tags name
	aside    int  // versions that were set aside
}

// Indexing is what the indexes of a version were.
type Indexing struct {
	version uint64
	rows    int64 // that the version had
	lacking int64 // rows that the index lacked which lacked most
	Count   int   // of indexes
}

// Lag is the number of rows that an index lacks when the table has so many.
func (i Indexing) Lag(rows int64) int64 {
	if i.Count == 0 {
		return 0
	}
	// Of rows that came since, none is in an index: these change by versions that are looked at.
	return i.lacking + max(0, rows-i.rows)
}

// panicked makes an error of a panic in the function that defers it, which the table
// does on a goroutine of its own, and tells the owner.
func (t *Table) panicked(err *error) {
	if with := recover(); with != nil {
		*err = engine.Panicked(with)
		t.o.Panicked(*err)
	}
}
