package lance

// #include "persisting_native.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/lancedb/lancedb-go/pkg/contracts"
	"github.com/lancedb/lancedb-go/pkg/lancedb"
)

// suffix ends the name of a table's directory.
const suffix = ".lance"

// Table is an open table: the newest version, and the way to make newer ones.
type Table struct {
	dir         string
	compression compressions
	columns     atomic.Pointer[columns] // of the newest version

	mu     sync.RWMutex // held for writing by Close, for reading by all else
	handle tableHandle  // nil once closed
	table  contracts.ITable
	conn   contracts.IConnection
}

// Create makes a table in the directory dir, whose name ends in ".lance", and
// opens it. Its first version has the rows of batches, which have the columns of
// schema in that order and stay the caller's. Nothing is synced to disk. It
// fails with fs.ErrExist when there is a table, and with ErrSchema when a field
// or a value cannot be stored.
func Create(dir string, schema *arrow.Schema, cfg Config, batches ...arrow.Record) (*Table, error) {
	stored, err := creatable(dir, schema, cfg, batches)
	if err != nil {
		return nil, err
	}
	_, err = native("create", func(_ *struct{}, e *owned) status {
		return C.pn_table_create(cText(dir), cRows(batches...), cSchema(stored), e)
	})
	if err != nil {
		return nil, in(dir, err)
	}
	// Opened anew, as lancedb has to open it as well: one way to a table, whoever made it.
	return Open(dir, cfg)
}

// creatable returns the columns that a table is stored with, or why it cannot be.
func creatable(dir string, schema *arrow.Schema, cfg Config, batches []arrow.Record) (*arrow.Schema, error) {
	if err := errors.Join(cfg.Validate(), checkDir(dir)); err != nil {
		return nil, err
	}
	if schema.NumFields() == 0 {
		return nil, fmt.Errorf("%w: a table without columns", ErrSchema)
	}
	stored, err := storedSchema(schema, cfg.compressions())
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		// Lance would take them for what the schema says, and write other values or fail in the
		// middle.
		if !slices.EqualFunc(b.Schema().Fields(), schema.Fields(), sameColumn) {
			return nil, fmt.Errorf("%w: a batch has the columns %v, the table %v", ErrSchema, b.Schema().Fields(), schema.Fields())
		}
		if err := checkValues(b, true); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// Open opens the table in dir. It fails with fs.ErrNotExist when there is none.
// Call Heal before.
func Open(dir string, cfg Config) (*Table, error) {
	if err := errors.Join(cfg.Validate(), checkDir(dir)); err != nil {
		return nil, err
	}
	if !Exists(dir) {
		return nil, &Error{Op: "open", Dir: dir, Msg: "no table", Err: fs.ErrNotExist}
	}
	t := &Table{dir: dir, compression: cfg.compressions()}
	if err := t.open(cfg); err != nil {
		return nil, errors.Join(in(dir, err), t.Close())
	}
	return t, nil
}

func (t *Table) open(cfg Config) error {
	ctx := context.Background()
	name := strings.TrimSuffix(filepath.Base(t.dir), suffix)
	err := load() // what lancedb-go calls as well
	if err != nil {
		return err
	}
	if t.conn, err = lancedb.Connect(ctx, filepath.Dir(t.dir), nil); err != nil {
		return &Error{Op: "open", Msg: err.Error(), Err: ErrIO}
	}
	if t.table, err = t.conn.OpenTable(ctx, name); err != nil {
		return &Error{Op: "open", Msg: err.Error(), Err: ErrCorrupt}
	}
	// The table of lancedb-go is the one whose commits and caches count; the native half works on
	// the same object, and not on a second one that would see its versions late.
	lancedbTable, err := lancedbHandle(t.table)
	if err != nil {
		return err
	}
	t.handle, err = native("open", func(out *tableHandle, e *owned) status {
		return C.pn_table_attach(lancedbTable, cTableOptions(cfg), out, e)
	})
	if err != nil {
		return err
	}
	return t.begin()
}

// begin gives a table that was opened its columns.
func (t *Table) begin() error {
	s, err := t.Snapshot()
	if err != nil {
		return err
	}
	defer s.Release()
	return t.adopt(s)
}

// adopt makes the columns of s those of the table.
func (t *Table) adopt(s *Snapshot) error {
	c, err := s.columns()
	if err == nil {
		t.columns.Store(c)
	}
	return err
}

// Dir returns the table's directory.
func (t *Table) Dir() string { return t.dir }

// Snapshot returns the newest version, retained for the caller.
func (t *Table) Snapshot() (*Snapshot, error) {
	return t.snapshot("snapshot", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_snapshot(t.handle, out, e)
	})
}

// Append adds the rows of batches in one commit and returns the version after
// it. The batches have one schema, whose columns are some or all of the table's;
// what is missing is null. Nothing is synced to disk. With no rows there is no
// commit. The batches stay the caller's, who may release them at once.
func (t *Table) Append(batches []arrow.Record) (*Snapshot, error) {
	records := make([]arrow.Record, 0, len(batches))
	for _, b := range batches {
		// A fragment without rows would be read by each scan.
		if b.NumRows() > 0 {
			records = append(records, b)
		}
	}
	if len(records) == 0 {
		return t.Snapshot()
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	stored, err := t.fitting(records)
	if err != nil {
		return nil, in(t.dir, err)
	}
	return t.made("append", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_append(t.handle, cRows(records...), cSchema(stored), out, e)
	})
}

// fitting returns the columns that records, which can be appended, are stored as.
func (t *Table) fitting(records []arrow.Record) (*arrow.Schema, error) {
	schema := records[0].Schema()
	stored, err := t.columns.Load().fit(schema)
	if err != nil {
		return nil, err
	}
	if stored.NumFields() == 0 {
		return nil, fmt.Errorf("%w: rows without columns", ErrSchema)
	}
	for _, r := range records {
		if !r.Schema().Equal(schema) {
			return nil, fmt.Errorf("%w: batches of different schemas", ErrSchema)
		}
		if err := checkValues(r, true); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// AddColumns adds nullable fields at the end, null in every row, without
// writing data, and metadata to that of the schema, whose keys keep their values.
func (t *Table) AddColumns(fields []arrow.Field, metadata arrow.Metadata) (*Snapshot, error) {
	if len(fields) == 0 && metadata.Len() == 0 {
		return t.Snapshot()
	}
	// With the compression of the bucket as it is opened now: columns that are there keep what they
	// were made with.
	stored, err := storedSchema(arrow.NewSchema(fields, &metadata), t.compression)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if !f.Nullable {
			return nil, fmt.Errorf("%w: added column %q is not nullable", ErrSchema, f.Name)
		}
		if _, ok := t.columns.Load().index[f.Name]; ok {
			return nil, fmt.Errorf("%w: column %q is there already", ErrSchema, f.Name)
		}
	}
	return t.reshape("add columns", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_add_columns(t.handle, cSchema(stored), out, e)
	})
}

// CastColumn gives the column name the type, nullability and metadata of to, in
// one commit; the column keeps its name and its place, the rows their ids. It
// fails with ErrInexact, and changes nothing, when a value would not survive
// the way there and back. Lists and structs are cast item by item and field by
// field, where to may have more fields than there were.
func (t *Table) CastColumn(name string, to arrow.Field) (*Snapshot, error) {
	to.Name = name
	if err := CheckStorable(to); err != nil {
		return nil, err
	}
	stored, err := storedField(to, t.compression)
	if err != nil {
		return nil, err
	}
	if _, ok := t.columns.Load().index[name]; !ok {
		return nil, fmt.Errorf("%w: no column %q", ErrSchema, name)
	}
	return t.reshape("cast column", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_cast_column(t.handle, cText(stored.Name), cField(stored), out, e)
	})
}

// Compact merges neighbouring small fragments, in row-id order, where that pays,
// and returns the version after it: the newest one when there was nothing to
// do. It may run while Append runs.
func (t *Table) Compact(o CompactOptions) (*Snapshot, CompactStats, error) {
	if o.TargetBytes < 0 || o.MinFragments < 0 || o.MaxBytes < 0 {
		return nil, CompactStats{}, fmt.Errorf("%w: a compaction option is negative", ErrInvalid)
	}
	var done C.struct_pn_compaction
	s, err := t.snapshot("compact", func(out *snapshotHandle, e *owned) status {
		code := C.pn_table_compact(t.handle, C.struct_pn_compact_options{
			target_bytes:  C.int64_t(o.TargetBytes),
			min_fragments: C.int64_t(o.MinFragments),
			max_bytes:     C.int64_t(o.MaxBytes),
			thorough:      cFlag(o.Thorough),
		}, &done, e)
		*out = done.snapshot
		return code
	})
	return s, CompactStats{
		FragmentsRemoved: int64(done.fragments_removed),
		FragmentsAdded:   int64(done.fragments_added),
		BytesRead:        int64(done.bytes_read),
		More:             done.more != 0,
	}, err
}

// Cleanup removes the versions below keepFrom that carry no tag and that no
// Snapshot of this Table holds, and the files that no version left refers to:
// those of the versions removed, and what crashes and failed writes left. The
// newest version stays. It waits for writes in progress, whose files nothing
// refers to yet, and holds up new ones.
func (t *Table) Cleanup(keepFrom uint64) (CleanupStats, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return CleanupStats{}, ErrClosed
	}
	done, err := native("cleanup", func(out *C.struct_pn_cleanup_stats, e *owned) status {
		return C.pn_table_cleanup(t.handle, C.uint64_t(keepFrom), out, e)
	})
	return CleanupStats{
		Versions: int64(done.versions_removed),
		Files:    int64(done.files_removed),
		Bytes:    int64(done.bytes_removed),
	}, in(t.dir, err)
}

// Close closes the table; snapshots and readers stay usable. Closing twice is
// nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handle != nil {
		C.pn_table_close(t.handle, nil)
		t.handle = nil
	}
	var errs []error
	if t.table != nil {
		errs = append(errs, t.table.Close())
		t.table = nil
	}
	if t.conn != nil {
		errs = append(errs, t.conn.Close())
		t.conn = nil
	}
	return errors.Join(errs...)
}

// snapshot runs a call that yields a version.
func (t *Table) snapshot(op string, call func(out *snapshotHandle, e *owned) status) (*Snapshot, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	return t.made(op, call)
}

// made is snapshot with the lock held.
func (t *Table) made(op string, call func(out *snapshotHandle, e *owned) status) (*Snapshot, error) {
	handle, err := native(op, call)
	if err != nil {
		return nil, in(t.dir, err)
	}
	s, err := newSnapshot(handle, t.dir, t.columns.Load())
	return s, in(t.dir, err)
}

// reshape runs a call that changes the columns.
func (t *Table) reshape(op string, call func(out *snapshotHandle, e *owned) status) (*Snapshot, error) {
	s, err := t.snapshot(op, call)
	if err != nil {
		return nil, err
	}
	// The next append is fitted to these columns, so they count from the moment of the commit.
	if err := t.adopt(s); err != nil {
		s.Release()
		return nil, err
	}
	return s, nil
}

// lancedbHandle takes the native handle out of lancedb-go's table.
func lancedbHandle(table contracts.ITable) (unsafe.Pointer, error) {
	// By reflection, as lancedb-go exports no handle. A version with another layout fails here,
	// with its reason, and never later.
	v := reflect.ValueOf(table)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		f := v.Elem().FieldByName("handle")
		if f.IsValid() && f.Kind() == reflect.UnsafePointer && !f.IsNil() {
			return f.UnsafePointer(), nil
		}
	}
	return nil, fmt.Errorf("%w: %T of lancedb-go has no field handle of type unsafe.Pointer: this package fits v0.1.2",
		ErrInternal, table)
}

func storedSchema(schema *arrow.Schema, compression compressions) (*arrow.Schema, error) {
	seen := make(map[string]bool, schema.NumFields())
	fields := make([]arrow.Field, schema.NumFields())
	for i, f := range schema.Fields() {
		if err := CheckStorable(f); err != nil {
			return nil, err
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("%w: column %q is there twice", ErrSchema, f.Name)
		}
		seen[f.Name] = true
		var err error
		if fields[i], err = storedField(f, compression); err != nil {
			return nil, err
		}
	}
	meta := storedMetadata(schema.Metadata())
	return arrow.NewSchema(fields, &meta), nil
}

// tableName matches what lancedb takes as the name of a table.
var tableName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func checkDir(dir string) error {
	name, ok := strings.CutSuffix(filepath.Base(dir), suffix)
	if !ok || !tableName.MatchString(name) {
		return fmt.Errorf("%w: %q does not end in <name>%s with a name of letters, digits, '_', '-' and '.'",
			ErrInvalid, dir, suffix)
	}
	return nil
}

// Exists says whether there is a table in dir: a version of one, sound or not.
func Exists(dir string) bool {
	// By its manifests alone: a directory without one is what a making that was cut short leaves.
	entries, err := os.ReadDir(filepath.Join(dir, "_versions"))
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".manifest") {
			return true
		}
	}
	return false
}

func cTableOptions(cfg Config) C.struct_pn_table_options {
	return C.struct_pn_table_options{
		metadata_cache_bytes: C.int64_t(cfg.MetadataCacheBytes),
		index_cache_bytes:    C.int64_t(cfg.IndexCacheBytes),
		io_buffer_bytes:      C.int64_t(cfg.IOBufferBytes),
		open_fragments:       C.int64_t(cfg.OpenFragments),
	}
}
