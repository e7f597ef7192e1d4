package mirror

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/vfs"
)

var fields = []Field{{"a", 1}, {"b", 4}, {"c", 24}, {"d", 8}}

// small is a layout whose segments have 64 rows.
func small() Layout { return layoutOf(fields, 64*64) }

// value is that of a field in a row.
func value(row int64, field int) []byte {
	out := make([]byte, fields[field].Width)
	for i := range out {
		out[i] = byte(row*31 + int64(field)*7 + int64(i) + 1)
	}
	return out
}

func isNull(row int64, field int) bool { return field == 1 && row%5 == 0 || field == 3 && row%7 == 0 }

// batch is rows as an append wants them.
func batch(first int64, count int) []Column {
	out := make([]Column, len(fields))
	for f := range fields {
		for i := range count {
			out[f].Values = append(out[f].Values, value(first+int64(i), f)...)
		}
		if f == 1 || f == 3 {
			out[f].Null = func(i int) bool { return isNull(first+int64(i), f) }
		}
	}
	return out
}

func open(t testing.TB, dir string, l Layout, bytes int64) *Mirror {
	t.Helper()
	m, err := Open(vfs.OS, dir, l, bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func add(t testing.TB, m *Mirror, first int64, count int) {
	t.Helper()
	if err := m.Append(first, batch(first, count), count); err != nil {
		t.Fatal(err)
	}
}

// check holds rows of a view against what they must be, and returns how many the mirror lacked.
func check(t testing.TB, m *Mirror, rows []int64) (cold int) {
	t.Helper()
	v, err := m.View(rows, func(missing []int64, add func([]Column, int)) error {
		cold = len(missing)
		for _, row := range missing {
			add(batch(row, 1), 1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for f := range fields {
		width := int(fields[f].Width)
		out := memory.Allocator.Allocate(width * len(rows))
		v.Gather(0, len(rows), []Target{{f, uint64(uintptr(unsafe.Pointer(&out[0])))}})
		for i, row := range rows {
			want := make([]byte, width)
			if row != Zero && !isNull(row, f) {
				want = value(row, f)
			}
			if got := out[i*width:][:width]; string(got) != string(want) {
				t.Fatalf("field %d of row %d is %v, want %v", f, row, got, want)
			}
			if null := row != Zero && isNull(row, f); v.Null(i, f) != null {
				t.Fatalf("field %d of row %d: null is %t", f, row, !null)
			}
		}
		memory.Allocator.Free(out)
	}
	return cold
}

func numbered(total int64) []int64 {
	var rows []int64
	for row := range total {
		rows = append(rows, row)
	}
	rand.Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	return append(rows, Zero)
}

func TestRowsAreWhatTheyWere(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, small(), 1<<30)
	const total = 300
	for first := int64(0); first < total; {
		count := int(min(1+first%29, total-first))
		add(t, m, first, count)
		first += int64(count)
	}
	for range 2 {
		if cold := check(t, m, numbered(total)); cold != 0 {
			t.Errorf("%d of %d rows were not there", cold, total)
		}
		if rows, bytes := m.Rows(); rows != total || bytes != 5*(4096+4096) {
			t.Errorf("%d rows in %d bytes", rows, bytes)
		}
		if first, end := m.Missing(total); first != end {
			t.Errorf("rows %d to %d are missing", first, end)
		}
		if first, end := m.Missing(total + 100); first != total || end != 320 {
			t.Errorf("rows %d to %d are missing", first, end)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = open(t, dir, small(), 1<<30)
	}
	for name, first := range map[string]int64{"again": total - 1, "a gap": total + 1, "far": 1000} {
		if err := m.Append(first, batch(first, 1), 1); err == nil {
			t.Errorf("%s: row %d was taken", name, first)
		}
	}
}

func TestTheOldestGoFirst(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, small(), 3*4096)
	const total = 64*6 + 16
	for first := int64(0); first < total; first += 10 {
		add(t, m, first, 10)
	}
	if rows, _ := m.Rows(); rows != 2*64+16 {
		t.Errorf("%d rows are there", rows)
	}
	if cold := check(t, m, numbered(total)); cold != 4*64 {
		t.Errorf("%d rows were read", cold)
	}
	if files, err := os.ReadDir(dir); len(files) != 3 || err != nil {
		t.Error(files, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir, small(), 2*4096) // less than there is
	if rows, _ := m.Rows(); rows != 64+16 {
		t.Errorf("%d rows are there", rows)
	}
	if first, end := m.Missing(total); first != end {
		t.Errorf("rows %d to %d are missing", first, end)
	}
}

// rewrite changes bytes of a file.
func rewrite(t *testing.T, path string, at int, with ...byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[at:], with)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNotSoundIsMissing(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"gone":   func(t *testing.T, path string) { t.Helper(); _ = os.Remove(path) },
		"short":  func(t *testing.T, path string) { t.Helper(); _ = os.Truncate(path, 5000) },
		"empty":  func(t *testing.T, path string) { t.Helper(); _ = os.Truncate(path, 0) },
		"zeros":  func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 0, make([]byte, 8192)...) },
		"row":    func(t *testing.T, path string) { t.Helper(); rewrite(t, path, headerBytes+777, 0xff) },
		"magic":  func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 3, 'x') },
		"layout": func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 8, 9, 9) },
		"number": func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 16, 9) },
		"bits":   func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 24, 3) },
		"sum":    func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 32, 1, 2, 3, 4) },
		"count":  func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 36, 63) },
		"many":   func(t *testing.T, path string) { t.Helper(); rewrite(t, path, 36, 65) },
	} {
		dir := t.TempDir()
		m := open(t, dir, small(), 1<<30)
		add(t, m, 0, 150)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		spoil(t, filepath.Join(dir, fileName(1)))
		m = open(t, dir, small(), 1<<30)
		if first, end := m.Missing(150); first != 64 || end != 128 {
			t.Errorf("%s: rows %d to %d are missing", name, first, end)
		}
		if cold := check(t, m, numbered(150)); cold != 64 {
			t.Errorf("%s: %d rows were read", name, cold)
		}
		add(t, m, 64, 64)
		if cold := check(t, m, numbered(150)); cold != 0 {
			t.Errorf("%s: %d rows were read", name, cold)
		}
	}
}

func TestAFileGrowsWithItsRows(t *testing.T) {
	dir := t.TempDir()
	layout := layoutOf(fields, 1<<20)
	size := func(number int64) int64 {
		info, err := os.Stat(filepath.Join(dir, fileName(number)))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	m := open(t, dir, layout, 1<<30)
	add(t, m, 0, 1)
	if size(0) != firstBytes {
		t.Errorf("a file of one row has %d bytes", size(0))
	}
	per := int64(1) << layout.bits
	rows, at := []int64{firstBytes / layout.stride, 10, per/2 + 1, per/2 + per/4}, int64(1)
	for _, n := range rows {
		add(t, m, at, int(n))
		at += n
		if err := m.Close(); err != nil { // what was opened again grows on
			t.Fatal(err)
		}
		m = open(t, dir, layout, 1<<30)
		if cold := check(t, m, numbered(at)); cold != 0 {
			t.Errorf("%d of %d rows were read", cold, at)
		}
	}
	if _, bytes := m.Rows(); size(0) != layout.fileBytes() || size(1) >= layout.fileBytes() || bytes != size(0)+size(1) {
		t.Errorf("%d bytes in files of %d and %d", bytes, size(0), size(1))
	}
}

func TestAnotherLayoutBeginsAnew(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, small(), 1<<30), 0, 100)
	other := slices.Clone(fields)
	other[2].Width = 16
	m := open(t, dir, layoutOf(other, 64*64), 1<<30)
	if rows, _ := m.Rows(); rows != 0 {
		t.Errorf("%d rows of another layout", rows)
	}
}

func TestRowsThatWereLostAreForgotten(t *testing.T) {
	dir := t.TempDir()
	if err := Forget(vfs.OS, filepath.Join(dir, "none"), 0); err != nil {
		t.Error(err)
	}
	m := open(t, dir, small(), 1<<30)
	add(t, m, 0, 150)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ total, left int64 }{{200, 150}, {150, 150}, {149, 128}, {128, 128}, {10, 0}} {
		if err := Forget(vfs.OS, dir, c.total); err != nil {
			t.Fatal(err)
		}
		m = open(t, dir, small(), 1<<30)
		if rows, _ := m.Rows(); rows != c.left {
			t.Errorf("of a table of %d rows the mirror has %d, want %d", c.total, rows, c.left)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClosedMirror(t *testing.T) {
	m := open(t, t.TempDir(), small(), 1<<30)
	add(t, m, 0, 10)
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.View([]int64{1}, nil); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
	if err := m.Append(10, batch(10, 1), 1); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
	failed := errors.New("no")
	cold := New(small())
	if _, err := cold.View([]int64{1}, func([]int64, func([]Column, int)) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if err := cold.Close(); err != nil { // nobody has a view: a read that failed has let go of it
		t.Error(err)
	}
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		widths       []int64
		size, stride int64
	}{
		{nil, 0, 8},
		{[]int64{1}, 16, 16},
		{[]int64{4, 8, 1}, 32, 32},
		{[]int64{48}, 56, 64},
		{[]int64{336, 8, 4, 1, 1, 640, 4}, 1024, 1024},
	} {
		var fields []Field
		for _, w := range c.widths {
			fields = append(fields, Field{"x", w})
		}
		l := NewLayout(fields)
		if l.size != c.size || l.stride != c.stride || l.stride<<l.bits > segmentBytes {
			t.Errorf("%v: rows of %d bytes, %d apart, %d in a segment", c.widths, l.size, l.stride, 1<<l.bits)
		}
	}
	wide := NewLayout([]Field{{"x", 100 << 20}})
	if wide.bits != 0 {
		t.Errorf("%d rows of 100 MiB in a segment", 1<<wide.bits)
	}
}

func BenchmarkGather(b *testing.B) {
	wide := []Field{{"obs", 336}, {"action", 8}, {"reward", 4}, {"terminated", 1}, {"truncated", 1}, {"tokens", 640}, {"version", 4}}
	m := open(b, b.TempDir(), NewLayout(wide), 4<<30)
	const total = 1_000_000
	columns := make([]Column, len(wide))
	for f := range wide {
		columns[f].Values = make([]byte, 1000*wide[f].Width)
	}
	b.SetBytes(256 * 998)
	for first := int64(0); first < total; first += 1000 {
		binary.LittleEndian.PutUint64(columns[1].Values, uint64(first))
		if err := m.Append(first, columns, 1000); err != nil {
			b.Fatal(err)
		}
	}
	out := memory.Allocator.Allocate(256 * 1024)
	defer memory.Allocator.Free(out)
	targets, at := make([]Target, len(wide)), uint64(uintptr(unsafe.Pointer(&out[0])))
	for f := range wide {
		targets[f] = Target{f, at}
		at += uint64(256 * wide[f].Width)
	}
	rows := make([]int64, 256)
	for b.Loop() {
		for i := range rows {
			rows[i] = rand.Int64N(total)
		}
		v, err := m.View(rows, nil)
		if err != nil {
			b.Fatal(err)
		}
		v.Gather(0, 256, targets)
		v.Close()
	}
}
