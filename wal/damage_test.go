package wal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// flips are what is done to a byte.
func flips(at int) []byte {
	if *slow {
		return []byte{1, 2, 4, 8, 16, 32, 64, 128, 255}
	}
	return []byte{1 << (at % 8), 255}
}

// prefix checks that a damaged log either is refused and not touched, or gives a prefix of the entries, no shorter than least.
func prefix(t *testing.T, what string, damaged files, entries []entry, least int) (loud bool) {
	t.Helper()
	m := load(t, damaged)
	l, got, report, err := tryOpen(options(m), 0)
	if err != nil {
		var place *segment.Error
		if !errors.As(err, &place) && !errors.As(err, new(*wal.GapError)) {
			t.Fatalf("%s: an error without a place: %v", what, err)
		}
		if !maps.Equal(save(t, m), damaged) {
			t.Fatalf("%s: refused, but changed", what)
		}
		if report, err := wal.Verify(options(m), 0, nil); err == nil {
			t.Fatalf("%s: verify says %+v", what, report)
		}
		return true
	}
	if len(got) > len(entries) || len(got) < least {
		t.Fatalf("%s: %d of %d entries, at least %d were on disk", what, len(got), len(entries), least)
	}
	same(t, what, got, entries[:len(got)])
	if len(got) < len(entries) && report.TornBytes == 0 && !strings.HasPrefix(what, "zeros") {
		t.Fatalf("%s: %d of %d entries without a word", what, len(got), len(entries))
	}
	again := put(t, l, "p", "after", 1)
	closeLog(t, l)
	l, all, report, err := tryOpen(options(m), 0)
	if err != nil || report.TornBytes != 0 {
		t.Fatalf("%s: opened a second time: %+v, %v", what, report, err)
	}
	same(t, what+", again", all, append(slices.Clone(got), again))
	closeLog(t, l)
	return false
}

func TestFlipEveryByte(t *testing.T) {
	crashed, closed, entries := sample(t)
	for _, c := range []struct {
		name  string
		files files
		quiet int // entries that need not be noticed
	}{{"closed", closed, 0}, {"not closed", crashed, 1}} {
		t.Run(c.name, func(t *testing.T) {
			quiet := 0
			for _, name := range c.files.names() {
				for at := range len(c.files[name]) {
					for _, flip := range flips(at) {
						b := []byte(c.files[name])
						b[at] ^= flip
						what := fmt.Sprintf("%s byte %d ^ %#x", name, at, flip)
						if !prefix(t, what, c.files.with(name, string(b)), entries, len(entries)-c.quiet) {
							quiet++
						}
					}
				}
			}
			if c.quiet == 0 && quiet > 0 {
				t.Errorf("%d flips in a closed log were not noticed", quiet)
			}
		})
	}
}

func TestCutEveryLength(t *testing.T) {
	crashed, closed, entries := sample(t)
	for kind, all := range map[string]files{"closed": closed, "not closed": crashed} {
		t.Run(kind, func(t *testing.T) {
			for _, name := range all.names() {
				for size := range len(all[name]) {
					what := fmt.Sprintf("%s cut to %d", name, size)
					if !prefix(t, what, all.with(name, all[name][:size]), entries, 0) {
						t.Fatalf("%s was not noticed", what)
					}
				}
			}
		})
	}
}

// TestZeroedTail is what a crash does to a file: everything from some sector on was not written, but for some sectors.
func TestZeroedTail(t *testing.T) {
	crashed, _, entries := sample(t)
	names := crashed.names()
	last := names[len(names)-1]
	for from := segment.HeaderBytes; from < len(crashed[last]); from++ {
		b := []byte(crashed[last])
		clear(b[from:])
		prefix(t, fmt.Sprintf("zeros from %d", from), crashed.with(last, string(b)), entries, 8)
	}
}

// TestGrown makes a terabyte of one file of a log: none of it is read or copied beyond what the log can have written.
func TestGrown(t *testing.T) {
	crashed, closed, entries := sample(t)
	for kind, all := range map[string]files{"closed": closed, "not closed": crashed} {
		for _, name := range all.names() {
			t.Run(kind+" "+name, func(t *testing.T) {
				o := options(vfs.OS)
				o.Dir = t.TempDir()
				for name, content := range all {
					if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Truncate(filepath.Join(o.Dir, name), 1<<40); err != nil {
					t.Fatal(err)
				}
				if _, _, _, err := tryOpen(o, 0); !errors.As(err, new(*segment.Error)) {
					t.Fatalf("opened with %v", err)
				}
				if infos, err := wal.Inspect(vfs.OS, o.Dir); err != nil || !slices.ContainsFunc(infos, func(i wal.SegmentInfo) bool { return i.Err != nil }) {
					t.Fatalf("inspected as %+v, %v", infos, err)
				}
				o.Recovery = wal.Salvage
				l, got, report, err := tryOpen(o, 0)
				if err != nil || len(report.Missing) > 0 {
					t.Fatalf("salvaged with %+v, %v", report, err)
				}
				same(t, "salvaged", got, entries)
				closeLog(t, l)
				for _, file := range append(report.Broken, filepath.Join(o.Dir, name)) {
					if info, err := os.Stat(file); err != nil || info.Size() > 1<<20 {
						t.Errorf("%s: %v, %v", file, info.Size(), err)
					}
				}
			})
		}
	}
}

func TestDamagedDirectory(t *testing.T) {
	_, closed, entries := sample(t)
	names := closed.names()
	other := wal.Options{Dir: dir, Bucket: [16]byte{9}, SegmentBytes: 1 << 10}
	one, two, three := closed[names[0]], closed[names[1]], closed[names[2]]
	stale, old := staleLog(t, 0)
	later, old2 := staleLog(t, 8) // its last segment begins after the second one of the sample
	old = append(old, old2...)
	twin := sampleWith(t, 1000) // the same but for the salts, so everything has the same place
	for name, c := range map[string]struct {
		files files
		next  int64
		want  error // nil: any
		gap   bool
	}{
		"first missing":        {closed.without(names[0]), 0, segment.ErrCorrupt, true},
		"middle missing":       {closed.without(names[1]), 0, segment.ErrCorrupt, false},
		"last missing":         {closed.without(names[2]), 0, segment.ErrCorrupt, false},
		"last two missing":     {closed.without(names[1]).without(names[2]), 0, segment.ErrCorrupt, false},
		"swapped":              {closed.with(names[0], two).with(names[1], one), 0, segment.ErrCorrupt, false},
		"last swapped":         {closed.with(names[1], three).with(names[2], two), 0, segment.ErrCorrupt, false},
		"doubled":              {closed.with("00000000000000000004.wal", three), 0, segment.ErrCorrupt, false},
		"stale first":          {closed.with(names[0], stale[names[0]]), 0, segment.ErrCorrupt, false},
		"stale middle":         {closed.with(names[1], stale[names[1]]), 0, segment.ErrCorrupt, false},
		"stale last":           {closed.with(names[2], stale[names[2]]), 0, segment.ErrCorrupt, false},
		"stale last, later":    {closed.with(names[2], later[names[2]]), entries[9].first, segment.ErrCorrupt, false},
		"twin first":           {closed.with(names[0], twin[names[0]]), 0, segment.ErrCorrupt, false},
		"twin middle":          {closed.with(names[1], twin[names[1]]), 0, segment.ErrCorrupt, false},
		"twin last":            {closed.with(names[2], twin[names[2]]), 0, segment.ErrCorrupt, false},
		"stale last, flushed":  {closed.with(names[2], stale[names[2]]), entries[9].first, segment.ErrCorrupt, false},
		"foreign":              {closed.with("00000000000000000004.wal", foreign(t, other)), 0, segment.ErrForeign, false},
		"foreign and flushed":  {closed.with("00000000000000000000.wal", foreign(t, other)), 15, segment.ErrForeign, false},
		"later version":        {closed.with(names[2], version(three, 2)), 0, segment.ErrUnsupportedVersion, false},
		"unknown flags":        {closed.with(names[2], reseal(three, 72, 4)), 0, segment.ErrUnsupportedVersion, false},
		"negative base":        {closed.with(names[2], reseal(three, 47, 0x80)), 0, segment.ErrCorrupt, false},
		"another file's name":  {closed.with("1.wal", "x"), 0, segment.ErrForeign, false},
		"empty file":           {closed.with(names[1], ""), 0, segment.ErrCorrupt, false},
		"text":                 {closed.with(names[2], strings.Repeat("hello ", 400)), 0, segment.ErrCorrupt, false},
		"all of it zeros":      {closed.with(names[2], string(make([]byte, 4096))), 0, segment.ErrCorrupt, false},
		"only zeros":           {files{names[0]: string(make([]byte, 4096))}, 0, segment.ErrCorrupt, false},
		"highest number":       {files{"18446744073709551615.wal": one}, 0, segment.ErrForeign, false},
		"number out of range":  {files{"99999999999999999999.wal": one}, 0, segment.ErrForeign, false},
		"records without head": {closed.with(names[2], string(make([]byte, 128))+three[128:]), 0, segment.ErrCorrupt, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, c.files)
			_, got, _, err := tryOpen(options(m), c.next)
			if !errors.Is(err, c.want) {
				t.Fatalf("%d entries, error %v", len(got), err)
			}
			if gap := errors.As(err, new(*wal.GapError)); gap != c.gap {
				t.Errorf("gap %v: %v", gap, err)
			}
			if !maps.Equal(save(t, m), c.files) {
				t.Error("the directory changed")
			}
			o := options(load(t, c.files))
			o.Recovery = wal.Salvage
			if !errors.Is(err, segment.ErrCorrupt) {
				if _, _, _, err := tryOpen(o, c.next); !errors.Is(err, c.want) {
					t.Errorf("salvage: %v", err)
				}
				return
			}
			salvaged(t, o, c.next, append(old, entries...))
		})
	}
}

// staleLog makes an earlier log of the same bucket.
func staleLog(t *testing.T, begin int64) (closed files, entries []entry) {
	m := load(t, files{})
	l, _, _ := open(t, wal.WithSalt(options(m), 99), begin)
	for i := range int64(12) {
		entries = append(entries, put(t, l, "schema one", content(9, begin+i, 120), 1))
	}
	closeLog(t, l)
	return save(t, m), entries
}

func foreign(t *testing.T, o wal.Options) string {
	m := load(t, files{})
	o.FS = m
	l, _, _ := open(t, o, 0)
	put(t, l, "p", "theirs", 1)
	closeLog(t, l)
	return save(t, m)["00000000000000000001.wal"]
}

// reseal changes a byte of a header and makes its checksum right.
func reseal(content string, at int, value byte) string {
	b := []byte(content)
	b[at] = value
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(b[:12], table), table, b[16:segment.HeaderBytes])
	binary.LittleEndian.PutUint32(b[12:], sum)
	return string(b)
}

func version(content string, v byte) string { return reseal(content, 8, v) }

// TestFlushedSegmentsDoNotMatter damages rows that the table holds.
func TestFlushedSegmentsDoNotMatter(t *testing.T) {
	_, closed, entries := sample(t)
	names := closed.names()
	b := []byte(closed[names[0]])
	b[300] ^= 1
	for _, all := range []files{closed.with(names[0], string(b)), closed.without(names[0])} {
		l, got, report := open(t, options(load(t, all)), entries[8].first)
		same(t, "without the flushed segments", got, entries[8:])
		if len(report.Removed) != len(all)-1 || report.Missing != nil {
			t.Errorf("%+v", report)
		}
		closeLog(t, l)
	}
}

func TestOtherFilesAreIgnored(t *testing.T) {
	_, closed, entries := sample(t)
	names := closed.names()
	all := closed.with("README", "x").with(names[0]+".broken", "x").with(names[0]+".broken.1", "x").with("wal", "x")
	rubbish := []string{"00000000000000000009.wal.tmp", names[1] + ".broken.tmp"}
	m := load(t, all.with(rubbish[0], "half").with(rubbish[1], "half"))
	l, got, _ := open(t, options(m), 0)
	same(t, "with other files", got, entries)
	closeLog(t, l)
	if after := save(t, m); !maps.Equal(after, all) {
		t.Errorf("the directory has %v", after.names())
	}
}

// TestHugeLengths has sound heads that claim what is not there.
func TestHugeLengths(t *testing.T) {
	crashed, _, entries := sample(t)
	names := crashed.names()
	last := names[2]
	for _, length := range []uint64{1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 1, 1 << 40, 4096} {
		b := []byte(crashed[last])
		end := used(b)
		salt := binary.LittleEndian.Uint32(b[68:])
		head := b[end : end+segment.RecordBytes]
		binary.LittleEndian.PutUint32(head[8:], salt)
		binary.LittleEndian.PutUint32(head[12:], 2)
		binary.LittleEndian.PutUint64(head[16:], length)
		binary.LittleEndian.PutUint64(head[24:], uint64(entries[11].first+entries[11].rows))
		binary.LittleEndian.PutUint64(head[32:], 1)
		sum := crc32.Update(uint32(end/8), crc32.MakeTable(crc32.Castagnoli), head[4:])
		binary.LittleEndian.PutUint32(head, sum)
		if prefix(t, fmt.Sprint("length ", length), crashed.with(last, string(b)), entries, len(entries)) {
			t.Errorf("length %d: refused", length)
		}
		if n := testing.AllocsPerRun(1, func() { _, _ = wal.Verify(options(load(t, crashed.with(last, string(b)))), 0, nil) }); n > 10000 {
			t.Errorf("length %d: %v allocations", length, n)
		}
	}
	// A body that is really there, but over the limit, is not damage.
	o := options(load(t, crashed))
	o.MaxEntryBytes = 150
	if _, _, _, err := tryOpen(o, 0); !errors.Is(err, segment.ErrTooLarge) || errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("over the limit: %v", err)
	}
}

// used returns the end of the last byte that is not zero, as a place for a record.
func used(b []byte) int { return (len(strings.TrimRight(string(b), "\x00")) + 7) &^ 7 }

// TestForeignRecords puts bytes that are a log themselves into a body, tears that, and finds no records in it.
func TestForeignRecords(t *testing.T) {
	_, closed, _ := sample(t)
	body := closed[closed.names()[0]]
	m := load(t, files{})
	o := options(m)
	o.SegmentBytes = 16 << 10
	l, _, _ := open(t, o, 0)
	want := []entry{put(t, l, "p", "first", 1)}
	put(t, l, "p", body, 1)
	all := save(t, m)
	closeLog(t, l)
	for shift := range 8 {
		name := all.names()[0]
		b := []byte(all[name])
		at := strings.Index(all[name], body) + shift
		b[at] ^= 1 // the record is torn
		damaged := all.with(name, string(b))
		l, got, report, err := tryOpen(options(load(t, damaged)), 0)
		if err != nil || report.TornBytes == 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		same(t, "torn", got, want)
		closeLog(t, l)
	}
}
