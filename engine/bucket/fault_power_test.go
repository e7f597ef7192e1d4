package bucket

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/vfs/faultfs"
)

// row is what a test expects at an offset.
type row struct {
	text  string
	value float64
	extra int64 // of the column extra<extra>, 0: in none
}

// world is a bucket that lives through power failures, and what must be in it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	o      options.Options
	dir    string
	life   int
	rows   []row          // that may be in the bucket, in order
	safe   int64          // rows below survive
	floats bool           // rows with fractions were appended
	gone   map[int64]bool // offsets whose rows were removed
	name   string         // of the column of texts
	maybe  func()         // makes the model what it is if a change that failed has happened
	log    []string

	healed, torn, replayed int64 // in all recoveries

	d      *faultfs.Disk
	bucket atomic.Pointer[Bucket]
	synced atomic.Int64 // rows below were synced, by the log or a flush
	image  string       // what the power failure left
	at     string       // and when it came
}

func newWorld(t *testing.T, seed uint64, change ...func(*options.Options)) *world {
	compression := func(o *options.Options) { o.WALCompression = batch.Compressions[seed%3] }
	change = append(change, compression)
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), o: quiet(change...), dir: t.TempDir(), gone: map[int64]bool{}, name: "text"}
	w.o.MaxWALBytes = options.MinWALBytes
	w.o.CutBytes = []int64{0, options.Default().CutBytes}[seed%2]
	w.o.CacheBytes = 0
	return w
}

// acknowledged is the number of rows that the bucket has acknowledged.
func (w *world) acknowledged() int64 {
	if b := w.bucket.Load(); b != nil {
		return b.Acknowledged()
	}
	return 0
}

// live opens the bucket, works with it and loses the power at the given
// operation on the file system.
func (w *world) live(crashAt int64) {
	w.life++
	w.synced.Store(w.safe)
	w.bucket.Store(nil)
	w.d = newDisk(w.t, w.dir)
	w.image = ""
	operations := int64(0)
	left := filepath.Join(w.t.TempDir(), "left")
	imaged := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	fail := func(op faultfs.Op) error {
		w.image = left
		w.at = fmt.Sprintf("before operation %d, %s %s", operations, op.Name, filepath.Base(op.Path))
		// What is acknowledged now must survive where an acknowledgement says so.
		if w.o.EnableWAL && w.o.WALSyncInterval == 0 {
			w.note(w.acknowledged())
		}
		if err := w.d.Image(imaged, left); err != nil {
			w.t.Errorf("image: %v", err)
		}
		return faultfs.ErrCrashed
	}
	w.d.Before = func(op faultfs.Op) error {
		if operations++; operations >= crashAt {
			return fail(op)
		}
		return nil
	}
	w.d.AtSync = w.acknowledged
	w.d.After = func(op faultfs.Op, before int64) {
		if op.Name == "datasync" && filepath.Base(filepath.Dir(op.Path)) == "wal" {
			w.note(before)
		}
	}
	o := w.o
	o.FS = w.d
	manifests := w.manifests()
	b, err := Open(filepath.Join(w.dir, "bucket"), o)
	if err == nil {
		w.check(b)
		w.count(b, manifests)
		w.bucket.Store(b)
		w.work(b)
		if err := b.Close(); err != nil && !w.d.IsDown() {
			w.t.Fatalf("close: %v", err)
		}
	} else if !w.d.IsDown() {
		w.t.Fatalf("%s: open: %v\n%s", w.at, err, w.history())
	}
	w.d.Still(func() {
		if w.image == "" {
			operations = crashAt
			_ = fail(faultfs.Op{Name: "end"})
		}
	})
	w.safe = w.synced.Load()
	w.dir = w.image
	must(w.t, w.d.Close())
	w.log = append(w.log, fmt.Sprintf("life %d: %s; %d rows appended, %d safe", w.life, w.at, len(w.rows), w.safe))
}

// manifests lists the versions of the table.
func (w *world) manifests() []string {
	names, err := filepath.Glob(filepath.Join(w.dir, "bucket", "data.lance", "_versions", "*.manifest"))
	must(w.t, err)
	return names
}

// count compares what the bucket says of its recovery with what it did.
func (w *world) count(b *Bucket, manifests []string) {
	w.t.Helper()
	m := b.Stats().Metrics
	if healed := len(manifests) - len(w.manifests()); m.Healed != int64(healed) {
		w.t.Fatalf("%d versions were set aside, the bucket counts %d\n%s", healed, m.Healed, w.history())
	}
	if b.Stats().BufferSize != m.Replayed {
		w.t.Fatalf("%d rows in the tail, the bucket counts %d replayed\n%s", b.Stats().BufferSize, m.Replayed, w.history())
	}
	w.healed += m.Healed
	w.torn += m.TornBytes
	w.replayed += m.Replayed
}

func (w *world) history() (text string) {
	for _, line := range w.log {
		text += line + "\n"
	}
	return text
}

func (w *world) note(rows int64) {
	for {
		have := w.synced.Load()
		if rows <= have || w.synced.CompareAndSwap(have, rows) {
			return
		}
	}
}

// check compares what the bucket holds with what it may hold.
func (w *world) check(b *Bucket) {
	w.t.Helper()
	n := b.Acknowledged()
	if n < w.safe || n > int64(len(w.rows)) {
		w.t.Fatalf("%d rows, want %d to %d\n%s", n, w.safe, len(w.rows), w.history())
	}
	w.rows = w.rows[:n]
	w.safe = n
	schema, _ := b.Schema()
	w.floats = schema != nil && schema.Field(schema.FieldIndices("value")[0]).Type.ID() == arrow.FLOAT64
	w.synced.Store(n)
	if err := w.compare(b); err != nil && w.maybe != nil {
		w.maybe()
	}
	w.maybe = nil
	w.read(b)
}

// read compares all rows.
func (w *world) read(b *Bucket) {
	w.t.Helper()
	if err := w.compare(b); err != nil {
		w.t.Fatalf("%v\n%s", err, w.history())
	}
}

func (w *world) compare(b *Bucket) error {
	c, err := b.Read(0, int64(len(w.rows))+10, false)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer c.Close()
	if schema, _ := c.Schema(); len(w.rows) > 0 && !schema.HasField(w.name) {
		return fmt.Errorf("no column %q in %v", w.name, schema)
	}
	var got []row
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		got = append(got, rowsOf(rec)...)
		rec.Release()
	}
	at := 0
	for _, r := range c.Offsets() {
		for o := r[0]; o < r[1]; o++ {
			if at >= len(got) || o >= int64(len(w.rows)) || w.gone[o] || got[at] != w.rows[o] {
				return fmt.Errorf("offset %d: got %+v of %d rows, want %+v, removed %v", o, got[min(at, len(got)-1)], len(got), w.rows[min(o, int64(len(w.rows)-1))], w.gone[o])
			}
			at++
		}
	}
	if at != len(w.rows)-len(w.gone) || at != len(got) {
		return fmt.Errorf("read %d rows at %d offsets, want %d", len(got), at, len(w.rows)-len(w.gone))
	}
	return nil
}

// change changes rows or columns, and then the model.
func (w *world) change(b *Bucket, do func() error, model func()) error {
	if err := b.Wait(background, int64(len(w.rows))); err != nil {
		return err
	}
	w.maybe = model
	if err := do(); err != nil {
		return err
	}
	w.maybe = nil
	model()
	w.note(int64(len(w.rows)))
	return nil
}

// rename gives the column of texts another name.
func (w *world) rename(b *Bucket) error {
	if len(w.rows) == 0 {
		return nil
	}
	to := map[string]string{"text": "a.b", "a.b": "text"}[w.name]
	return w.change(b, func() error { return b.Columns().Rename(w.name, to) }, func() { w.name = to })
}

// drop takes out one of the columns that some rows have.
func (w *world) drop(b *Bucket) error {
	extra := 1 + w.rng.Int64N(4)
	schema, _ := b.Schema()
	if name := fmt.Sprint("extra", extra); schema != nil && schema.HasField(name) {
		return w.change(b, func() error { return b.Columns().Drop(name) }, func() {
			for i := range w.rows {
				if w.rows[i].extra == extra {
					w.rows[i].extra = 0
				}
			}
		})
	}
	return nil
}

// remove removes rows from the beginning, or here and there.
func (w *world) remove(b *Bucket) error {
	if len(w.rows) == 0 {
		return nil
	}
	if w.rng.IntN(2) == 0 {
		before := w.rng.Int64N(int64(len(w.rows)) + 1)
		return w.change(b, func() error { _, err := b.TruncateBefore(before); return err }, func() {
			for o := range before {
				w.gone[o] = true
			}
		})
	}
	value := float64(1 + w.rng.IntN(20))
	return w.change(b, func() error { _, err := b.Delete(fmt.Sprintf("value = %g", value)); return err }, func() {
		for o, r := range w.rows {
			if r.value == value {
				w.gone[int64(o)] = true
			}
		}
	})
}

func rowsOf(rec arrow.Record) []row {
	rows := make([]row, rec.NumRows())
	for j, f := range rec.Schema().Fields() {
		for i := range rows {
			if rec.Column(j).IsNull(i) {
				continue
			}
			switch column := rec.Column(j).(type) {
			case *array.String:
				rows[i].text = strings.Clone(column.Value(i)) // the memory is that of rec
			case *array.Float64:
				rows[i].value = column.Value(i)
			case *array.Int64:
				if f.Name == "value" {
					rows[i].value = float64(column.Value(i))
				} else if _, err := fmt.Sscanf(f.Name, "extra%d", &rows[i].extra); err != nil {
					panic(err) // the test made the names
				}
			}
		}
	}
	return rows
}

// recordOf is a batch of rows, all of which have the same columns.
func recordOf(rows []row, floats bool) arrow.Record {
	fields := []arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}
	if floats {
		fields[1].Type = arrow.PrimitiveTypes.Float64
	}
	if n := rows[0].extra; n > 0 {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("extra%d", n), Type: arrow.PrimitiveTypes.Int64, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.text)
		if floats {
			b.Field(1).(*array.Float64Builder).Append(r.value)
		} else {
			b.Field(1).(*array.Int64Builder).Append(int64(r.value))
		}
		if r.extra > 0 {
			b.Field(2).(*array.Int64Builder).Append(r.extra)
		}
	}
	return b.NewRecord()
}

// append appends up to 40 rows; now and then they need another schema.
func (w *world) append(b *Bucket) error {
	rows := make([]row, 1+w.rng.IntN(40))
	var extra int64
	if w.rng.IntN(4) == 0 {
		extra = 1 + w.rng.Int64N(4)
	}
	floats := w.floats || w.rng.IntN(12) == 0
	text := fmt.Sprintf("%0*d", w.rng.IntN(120), 0)
	first := int64(len(w.rows))
	for i := range rows {
		rows[i] = row{text: fmt.Sprintf("life %d, row %d %s", w.life, first+int64(i), text), value: float64(i + 1), extra: extra}
	}
	if floats {
		rows[0].value += 0.5
	}
	made := recordOf(rows, floats)
	defer made.Release()
	fields := made.Schema().Fields()
	fields[0].Name = w.name
	rec := array.NewRecord(arrow.NewSchema(fields, nil), made.Columns(), made.NumRows())
	defer rec.Release()
	w.rows = append(w.rows, rows...) // they may survive even if the append fails
	got, end, err := b.Append(Record{Rows: rec}, false)
	if err != nil {
		return err
	}
	w.floats = floats
	if got != first || end != int64(len(w.rows)) {
		w.t.Fatalf("rows got the offsets %d to %d, want %d to %d", got, end, first, len(w.rows))
	}
	if w.rng.IntN(2) == 0 {
		err = b.Wait(background, end)
	}
	return err
}

func (w *world) work(b *Bucket) {
	for range 5 + w.rng.IntN(40) {
		var err error
		switch w.rng.IntN(28) {
		default:
			err = w.append(b)
		case 7, 8, 9:
			rows := b.Acknowledged()
			if err = b.Flush(); err == nil {
				w.note(rows)
			}
		case 10:
			err = b.Compact()
		case 12:
			err = w.rename(b)
		case 13:
			err = w.remove(b)
		case 14:
			err = w.drop(b)
		case 11:
			if err = b.Wait(background, int64(len(w.rows))); err == nil {
				w.read(b)
			}
		}
		if err != nil {
			if !w.d.IsDown() {
				w.t.Fatalf("life %d: %v\n%s", w.life, err, w.history())
			}
			return
		}
	}
}

// TestPowerLoss lets a bucket work through several power failures, each of
// which may cost anything that was not synced.
func TestPowerLoss(t *testing.T) {
	seeds := uint64(8)
	if slow() {
		seeds = 200
	}
	worlds := map[string]func(*options.Options){
		"synced":        func(o *options.Options) { o.WALSyncInterval = 0 },
		"synced later":  func(o *options.Options) { o.WALSyncInterval = 5 * time.Millisecond },
		"in background": func(o *options.Options) { o.WALSyncInterval = 0; o.FlushRows = 60; o.CompactFragments = 3 },
		"without a log": func(o *options.Options) { o.EnableWAL = false },
	}
	var healed, torn, replayed int64
	// When the power goes is random, and on a busy machine what it then hits as well: go on until there was one of each.
	untried := func() bool { return healed == 0 || torn == 0 || replayed == 0 }
	for seed := uint64(0); seed < seeds || untried() && seed < 10*seeds; seed++ {
		for name, change := range worlds {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				w := newWorld(t, seed, change)
				for range 6 {
					w.live(1 + int64(w.rng.ExpFloat64()*150))
				}
				w.live(1 << 40)
				healed, torn, replayed = healed+w.healed, torn+w.torn, replayed+w.replayed
			})
		}
	}
	if untried() {
		t.Errorf("%d versions set aside, %d torn bytes, %d rows replayed: nothing was tried", healed, torn, replayed)
	}
}
