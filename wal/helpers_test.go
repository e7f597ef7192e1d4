package wal_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
	"go.uber.org/goleak"
)

var (
	slow   = flag.Bool("slow", os.Getenv("PERSISTING_SLOW") != "", "run the exhaustive variants")
	update = flag.Bool("update", false, "write the golden files anew")
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

const dir = "/bucket/wal"

var background = context.Background()

// entry is what a test appended and expects back.
type entry struct {
	first, rows    int64
	preamble, body string
}

func (e entry) String() string {
	return fmt.Sprintf("rows %d to %d of %q: %.40q", e.first, e.first+e.rows-1, e.preamble, e.body)
}

// content makes a body that is different for every entry of every life of a log.
func content(life int, first int64, size int) string {
	b := fmt.Appendf(nil, "life %d row %d ", life, first)
	for seed := uint64(first)*31 + uint64(life); len(b) < size; seed = seed*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, seed)
	}
	return string(b[:size])
}

func options(fs vfs.FS) wal.Options {
	return wal.Options{Dir: dir, FS: fs, Bucket: [16]byte{1, 2, 3}, SegmentBytes: 1 << 10}
}

// open opens a log that must be sound and returns what was replayed.
func open(t testing.TB, o wal.Options, next int64) (*wal.Log, []entry, wal.Report) {
	t.Helper()
	l, entries, report, err := tryOpen(o, next)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, entries, report
}

func tryOpen(o wal.Options, next int64) (*wal.Log, []entry, wal.Report, error) {
	var entries []entry
	l, report, err := wal.Open(o, next, collect(&entries))
	return l, entries, report, err
}

func collect(entries *[]entry) func(segment.Entry) error {
	return func(e segment.Entry) error {
		*entries = append(*entries, entry{e.First, e.Rows, string(e.Preamble), string(e.Body)})
		return nil
	}
}

// put appends an entry and waits for it.
func put(t testing.TB, l *wal.Log, preamble, body string, rows int64) entry {
	t.Helper()
	first, err := l.Append([]byte(preamble), [][]byte{[]byte(body)}, rows, nil)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	if err := l.Wait(background, first+rows); err != nil {
		t.Fatalf("wait: %v", err)
	}
	return entry{first, rows, preamble, body}
}

func closeLog(t testing.TB, l *wal.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func same(t testing.TB, what string, got, want []entry) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: entry %d of %d, row %d, is lost", what, i, len(want), want[i].first)
		case i >= len(want):
			t.Fatalf("%s: %d entries instead of %d, the next is %v", what, len(got), len(want), got[i])
		case got[i] != want[i]:
			t.Fatalf("%s: entry %d is %v instead of %v", what, i, got[i], want[i])
		}
	}
}

// files is the content of a directory.
type files map[string]string

func save(t testing.TB, fs vfs.FS) files {
	t.Helper()
	all := files{}
	names, err := fs.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fs.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if n, err := f.ReadAt(b, 0); n < len(b) {
			t.Fatal(err)
		}
		all[name] = string(b)
		_ = f.Close()
	}
	return all
}

// load returns a file system that holds all, synced.
func load(t testing.TB, all files) *faultfs.Mem {
	t.Helper()
	m := faultfs.NewMem()
	if err := m.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, content := range all {
		f, err := m.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.WriteAt([][]byte{[]byte(content)}, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	return m
}

func (all files) with(name, content string) files {
	c := maps.Clone(all)
	c[name] = content
	return c
}

func (all files) without(name string) files {
	c := maps.Clone(all)
	delete(c, name)
	return c
}

func (all files) names() []string { return slices.Sorted(maps.Keys(all)) }

// sample makes a log of three segments and returns its files as they are before and after Close.
func sample(t testing.TB) (crashed, closed files, entries []entry) {
	t.Helper()
	return sampleFrom(t, 7)
}

func sampleWith(t testing.TB, salt uint32) files {
	t.Helper()
	_, closed, _ := sampleFrom(t, salt)
	return closed
}

func sampleFrom(t testing.TB, salt uint32) (crashed, closed files, entries []entry) {
	t.Helper()
	m := faultfs.NewMem()
	l, _, _ := open(t, wal.WithSalt(options(m), salt), 0)
	for i, first := 0, int64(0); i < 12; i++ {
		preamble := "schema one"
		if i >= 8 {
			preamble = "schema two, longer"
		}
		e := put(t, l, preamble, content(0, first, []int{100, 37, 64, 1, 0, 170}[i%6]), int64(1+i%3))
		first = e.first + e.rows
		entries = append(entries, e)
	}
	crashed = save(t, m)
	closeLog(t, l)
	closed = save(t, m)
	if len(closed) != 3 {
		t.Fatalf("the sample has %d segments", len(closed))
	}
	return crashed, closed, entries
}
