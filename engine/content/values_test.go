package content

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

func openValues(t *testing.T, dir string, files vfs.FS, readOnly bool) *Values {
	t.Helper()
	o := options.Default()
	o.FS, o.EnableMetrics = files, false
	v, err := Open(dir, o, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	return v
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func columnOf(t *testing.T, values ...string) *array.Binary {
	t.Helper()
	b := array.NewBinaryBuilder(memory.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	for _, value := range values {
		b.AppendString(value)
	}
	column := b.NewBinaryArray()
	t.Cleanup(column.Release)
	return column
}

func keep(t *testing.T, v *Values, values ...string) []Name {
	t.Helper()
	names, err := v.Keep(columnOf(t, values...))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// want holds the values of names against what they must be, and how many there are in all.
func want(t *testing.T, v *Values, count int64, names []Name, values ...string) {
	t.Helper()
	c, err := v.Take(names)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	err = c.Each(func(rec arrow.Record, _ int64) error {
		column := column(rec, ValueColumn).(*array.Binary)
		for i := range column.Len() {
			found = append(found, string(column.Value(i)))
		}
		return nil
	})
	if err != nil || fmt.Sprint(found) != fmt.Sprint(values) || v.Count() != count {
		t.Fatalf("got %q of %d, %v; want %q of %d", found, v.Count(), err, values, count)
	}
}

func unknown(t *testing.T, v *Values, name Name) {
	t.Helper()
	if c, err := v.Take([]Name{name}); !errors.Is(err, ErrUnknown) || !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestAValueIsThereOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "content")
	v := openValues(t, dir, vfs.OS, false)
	want(t, v, 0, nil)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	unknown(t, v, Name{})
	names := keep(t, v, "one", "two", "one", "")
	if names[0] != names[2] || names[0] == names[1] || names[0].String()[:8] != "7692c3ad" { // of sha256sum
		t.Error(names)
	}
	want(t, v, 3, []Name{names[3], names[0], names[0], names[1]}, "", "one", "one", "two")
	if again := keep(t, v, "two", "three"); again[0] != names[1] {
		t.Error(again)
	}
	want(t, v, 4, names, "one", "two", "one", "")
	other := openValues(t, dir, vfs.OS, true)
	want(t, other, 4, names, "one", "two", "one", "")
	if _, err := other.Keep(columnOf(t, "x")); !errors.Is(err, engine.ErrReadOnly) {
		t.Error(err)
	}
	done(t, v.Close())
	if _, err := v.Keep(columnOf(t, "x")); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
	v = openValues(t, dir, vfs.OS, false)
	want(t, v, 4, names, "one", "two", "one", "")
}

func setOf(names ...Name) map[Name]struct{} {
	set := map[Name]struct{}{}
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}

func TestWhatNobodyUsesIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "content")
	v := openValues(t, dir, vfs.OS, false)
	sweep := func(removed int64, names ...Name) {
		t.Helper()
		if n, err := v.Sweep(setOf(names...)); err != nil || n != removed {
			t.Fatalf("%d were removed, %v; want %d", n, err, removed)
		}
	}
	sweep(0)
	names := keep(t, v, "used", "kept", "free", "again")
	sweep(0, names...) // all of them were kept since the opening
	want(t, v, 4, names, "used", "kept", "free", "again")
	done(t, v.Close())
	v = openValues(t, dir, vfs.OS, false)
	sweep(0)
	keep(t, v, "kept")
	done(t, v.Hold(setOf(names[0])))
	sweep(2, names...)
	want(t, v, 2, names[:2], "used", "kept")
	unknown(t, v, names[2])
	if err := v.Hold(setOf(names[0], names[2])); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if again := keep(t, v, "again"); again[0] != names[3] {
		t.Error(again)
	}
	sweep(0, names...)
	want(t, v, 3, names[3:], "again")
	done(t, v.Close())
	v = openValues(t, dir, vfs.OS, false)
	want(t, v, 3, []Name{names[3], names[0], names[1]}, "again", "used", "kept")
}

// TestTheLaterOfTwoRowsCounts: a failure of the power can take a removal back.
func TestTheLaterOfTwoRowsCounts(t *testing.T) {
	x := index{places: map[Name]place{}}
	x.add(Name{1}, 0, false)
	x.add(Name{2}, 1, false)
	x.add(Name{1}, 2, false)
	if offset, ok := x.keep(Name{1}); offset != 2 || !ok {
		t.Error(offset, ok)
	}
	if gone := x.drop(setOf(Name{1}, Name{2})); fmt.Sprint(gone) != "[0 1]" {
		t.Error(gone)
	}
	if gone := x.drop(setOf(Name{1}, Name{2})); len(gone) > 0 {
		t.Error(gone)
	}
}

func TestManyKeepTheSame(t *testing.T) {
	v := openValues(t, filepath.Join(t.TempDir(), "content"), vfs.OS, false)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 30 {
				value := fmt.Sprint(chance.IntN(50))
				names := keep(t, v, value, value+"!")
				c, err := v.Take(names)
				if err == nil {
					err = c.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	rows := v.bucket.Acknowledged()
	if rows != v.Count() || rows > 100 {
		t.Errorf("%d rows of %d values", rows, v.Count())
	}
}

// TestANameIsThatOfAValueOnDisk loses the power after each name that was given out.
func TestANameIsThatOfAValueOnDisk(t *testing.T) {
	root := t.TempDir()
	disk, err := faultfs.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, disk.Close()) })
	v := openValues(t, filepath.Join(root, "content"), disk, false)
	chance := rand.New(rand.NewPCG(3, 4))
	var names []Name
	var values []string
	for i := range 12 {
		value := string(bytes.Repeat([]byte{byte(i)}, 1+chance.IntN(3000)))
		names, values = append(names, keep(t, v, value)...), append(values, value)
		left := filepath.Join(t.TempDir(), "left")
		disk.Still(func() { err = disk.Image(chance, left) })
		if err != nil {
			t.Fatal(err)
		}
		after := openValues(t, filepath.Join(left, "content"), vfs.OS, false)
		want(t, after, int64(i+1), names, values...)
		done(t, after.Close())
	}
}

func TestBatchesThatAreNoValues(t *testing.T) {
	for _, fields := range [][]arrow.Field{
		{{Name: "value", Type: arrow.BinaryTypes.String}},
		{{Name: "value", Type: arrow.BinaryTypes.Binary}, {Name: "more", Type: arrow.BinaryTypes.Binary}},
		{},
	} {
		b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema(fields, nil))
		rec := b.NewRecord()
		if _, err := Check(rec); !errors.As(err, new(*engine.SchemaError)) {
			t.Error(err)
		}
		rec.Release()
		b.Release()
	}
}

func TestNamesOfBytes(t *testing.T) {
	b := make([]byte, 2*NameBytes)
	b[NameBytes] = 7
	names, err := ParseNames(b)
	if want := (Name{7}); err != nil || len(names) != 2 || names[0] != (Name{}) || names[1] != want {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := ParseNames(b[:33]); !errors.Is(err, engine.ErrInvalid) {
		t.Errorf("33 bytes: %v", err)
	}
}
