package content

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
)

// The columns of the bucket.
const (
	NameColumn  = "name"
	ValueColumn = "value"
)

// removedAtOnce is how many values one version of the table loses at most: the filter that says which is a text.
const removedAtOnce = 10_000

// ErrUnknown is returned for a name of no value.
var ErrUnknown = fmt.Errorf("%w: there is no value of that name", engine.ErrNotFound)

var columns = arrow.NewSchema([]arrow.Field{
	{Name: NameColumn, Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: ValueColumn, Type: arrow.BinaryTypes.Binary, Nullable: true},
}, nil)

// Values are those of a directory.
type Values struct {
	dir      string
	o        options.Options
	readOnly bool

	writing sync.Mutex // the order of appends and removals; taken before mu

	mu     sync.RWMutex // guards what follows; held for moments
	bucket *bucket.Bucket
	index  index
	synced int64 // values below that offset are on disk
	closed bool
}

// Open opens the values of a directory, which may be missing: the first value makes it. Read-only it reads beside the process that
// has them open, what was there when it was opened.
func Open(dir string, o options.Options, readOnly bool) (*Values, error) {
	v := &Values{dir: dir, o: o, readOnly: readOnly, index: index{places: map[Name]place{}}}
	if _, err := o.FS.ReadDir(dir); errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	b, err := v.open()
	if err != nil {
		return nil, err
	}
	if err := v.recover(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	v.bucket = b
	return v, nil
}

func (v *Values) open() (*bucket.Bucket, error) {
	if v.readOnly {
		return bucket.OpenReadOnly(v.dir, v.o)
	}
	return bucket.Open(v.dir, v.o)
}

// recover reads the names of what is there.
func (v *Values) recover(b *bucket.Bucket) error {
	v.synced = b.Acknowledged() // by the opening, as all that it finds
	if v.synced == 0 {
		return nil
	}
	c, err := b.Query(table.Query{Columns: []string{NameColumn}, WithOffset: true}, nil)
	if err != nil {
		return err
	}
	return c.Each(func(rec arrow.Record, _ int64) error {
		names, ok := column(rec, NameColumn).(*array.Binary)
		offsets, known := column(rec, lance.OffsetColumn).(*array.Int64)
		if !ok || !known {
			return fmt.Errorf("%w: the values of %s have the columns %v", engine.ErrCorrupt, v.dir, rec.Schema())
		}
		for i := range names.Len() {
			name := names.Value(i)
			if len(name) != NameBytes {
				return fmt.Errorf("%w: value %d of %s has a name of %d bytes", engine.ErrCorrupt, offsets.Value(i), v.dir, len(name))
			}
			v.index.add(Name(name), offsets.Value(i), false)
		}
		return nil
	})
}

// Keep stores the values that are not there yet, and returns the names of all when they are on disk.
func (v *Values) Keep(values *array.Binary) ([]Name, error) {
	if v.readOnly {
		return nil, fmt.Errorf("%w: no value is kept", engine.ErrReadOnly)
	}
	names := make([]Name, values.Len())
	for i := range names {
		names[i] = sha256.Sum256(values.Value(i))
	}
	end, err := v.add(names, values)
	if err != nil {
		return nil, err
	}
	return names, v.sync(end)
}

// add appends the values that are not there, and returns the end of the rows that have all of them.
func (v *Values) add(names []Name, values *array.Binary) (end int64, err error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	b, missing, end, err := v.missing(names)
	if err != nil || len(missing) == 0 {
		return end, err
	}
	if b == nil { // the first value of all
		if b, err = v.open(); err != nil {
			return 0, err
		}
		v.mu.Lock()
		v.bucket = b
		v.mu.Unlock()
	}
	rows := rowsOf(names, values, missing)
	defer rows.Release()
	first, end, err := b.Append(bucket.Record{Rows: rows}, false)
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, at := range missing {
		v.index.add(names[at], first+int64(i), true)
	}
	return end, nil
}

// missing returns which values are not there, each once, and the end of the rows of the others, which stay.
func (v *Values) missing(names []Name) (b *bucket.Bucket, missing []int, end int64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, nil, 0, engine.ErrClosed
	}
	seen := map[Name]struct{}{}
	for i, name := range names {
		offset, ok := v.index.keep(name)
		if _, twice := seen[name]; !ok && !twice {
			missing = append(missing, i)
			seen[name] = struct{}{}
		}
		if ok {
			end = max(end, offset+1)
		}
	}
	return v.bucket, missing, end, nil
}

// rowsOf are the rows of some of the values. The caller releases them.
func rowsOf(names []Name, values *array.Binary, which []int) arrow.Record {
	b := array.NewRecordBuilder(memory.Allocator, columns)
	defer b.Release()
	b.Reserve(len(which))
	for _, i := range which {
		b.Field(0).(*array.BinaryBuilder).Append(names[i][:])
		b.Field(1).(*array.BinaryBuilder).Append(values.Value(i))
	}
	return b.NewRecord()
}

// sync returns when the rows below an end are on disk.
func (v *Values) sync(end int64) error {
	v.mu.RLock()
	b, synced := v.bucket, v.synced
	v.mu.RUnlock()
	if end <= synced {
		return nil
	}
	if err := b.Wait(context.Background(), end); err != nil {
		return err
	}
	if err := b.Sync(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.synced = max(v.synced, end)
	return nil
}

// Take returns the rows of values by their names, in that order.
func (v *Values) Take(names []Name) (*table.Cursor, error) {
	offsets := make([]int64, len(names))
	v.mu.RLock()
	b, closed := v.bucket, v.closed
	for i, name := range names {
		p, ok := v.index.places[name]
		if !ok {
			v.mu.RUnlock()
			return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
		}
		offsets[i] = p.offset
	}
	v.mu.RUnlock()
	if closed {
		return nil, engine.ErrClosed
	}
	if b == nil {
		return table.NewCursor(table.Parts{Schema: columns}), nil
	}
	return b.Take(offsets, false)
}

// Hold has values stay, for what names them now. It is an error that matches [ErrUnknown] where one is not there.
func (v *Values) Hold(names map[Name]struct{}) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name := range names {
		if _, ok := v.index.keep(name); !ok {
			return fmt.Errorf("%w: %s", ErrUnknown, name)
		}
	}
	return nil
}

// Sweep removes values by their names, but for those that were kept or held since the opening, and returns how many.
func (v *Values) Sweep(names map[Name]struct{}) (removed int64, err error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	v.mu.Lock()
	b, closed := v.bucket, v.closed
	if b == nil || closed {
		v.mu.Unlock()
		return 0, nil
	}
	offsets := v.index.drop(names)
	v.mu.Unlock()
	for some := range slices.Chunk(offsets, removedAtOnce) {
		n, err := b.Delete(filterOf(some))
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// filterOf is true for rows at some offsets.
func filterOf(offsets []int64) string {
	texts := make([]string, len(offsets))
	for i, offset := range offsets {
		texts[i] = strconv.FormatInt(offset, 10)
	}
	return lance.OffsetColumn + " IN (" + strings.Join(texts, ", ") + ")"
}

// Count is how many values there are.
func (v *Values) Count() int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return int64(len(v.index.places))
}

// Flush brings all values into the table.
func (v *Values) Flush() error {
	v.mu.RLock()
	b := v.bucket
	v.mu.RUnlock()
	if b == nil {
		return nil
	}
	return b.Flush()
}

// Close closes them. They are closed whatever is returned.
func (v *Values) Close() error {
	v.writing.Lock()
	defer v.writing.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return engine.ErrClosed
	}
	v.closed = true
	if v.bucket == nil {
		return nil
	}
	return v.bucket.Close()
}

// column returns a column of a batch by its name, nil for none.
func column(rec arrow.Record, name string) arrow.Array {
	if at := rec.Schema().FieldIndices(name); len(at) == 1 {
		return rec.Column(at[0])
	}
	return nil
}

// Check returns why a batch is not one of values, as [Values.Keep] takes them.
func Check(rec arrow.Record) (*array.Binary, error) {
	if rec.NumCols() != 1 {
		return nil, &engine.SchemaError{Column: ValueColumn, Reason: fmt.Sprintf("is all that values have, not %q", batch.UserColumns(rec.Schema()))}
	}
	values, ok := rec.Column(0).(*array.Binary)
	if !ok || values.NullN() > 0 {
		return nil, &engine.SchemaError{Column: rec.ColumnName(0), Reason: fmt.Sprintf("is %s with %d nulls; values are binary, without", rec.Column(0).DataType(), rec.Column(0).NullN())}
	}
	return values, nil
}
