package wal_test

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// goldenDir holds a log of format version 1: one directory as Close leaves it, one as a crash does, one after a salvage.
const goldenDir = "testdata/v1"

func golden(t testing.TB, name string) files {
	t.Helper()
	all := files{}
	paths, err := filepath.Glob(filepath.Join(goldenDir, name, "*.wal"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files of %s: %v", name, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(b)
	}
	return all
}

// TestGolden reads what an earlier build wrote, and writes the same bytes.
func TestGolden(t *testing.T) {
	crashed, closed, entries := sample(t)
	damaged := []byte(closed[closed.names()[0]])
	damaged[250] ^= 1
	m := load(t, closed.with(closed.names()[0], string(damaged)))
	o := wal.WithSalt(options(m), 70)
	o.Recovery = wal.Salvage
	l, saved, _ := open(t, o, 0)
	closeLog(t, l)
	rewritten := save(t, m)
	delete(rewritten, closed.names()[0]+".broken")
	for name, c := range map[string]struct {
		files   files
		entries []entry
	}{"closed": {closed, entries}, "crashed": {crashed, entries}, "salvaged": {rewritten, saved}} {
		t.Run(name, func(t *testing.T) {
			if *update {
				for file, content := range c.files {
					path := filepath.Join(goldenDir, name, file)
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			old := golden(t, name)
			if !maps.Equal(old, c.files) {
				t.Error("the log writes other bytes than it did: the format has changed")
			}
			l, got, _ := open(t, options(load(t, old)), 0)
			same(t, name, got, c.entries)
			closeLog(t, l)
		})
	}
}

// FuzzSegment opens directories with one segment of any content. Nothing may panic, no strict error may change the directory,
// what a salvage leaves must open, and what opens must open again with the same entries.
func FuzzSegment(f *testing.F) {
	for _, name := range []string{"closed", "crashed", "salvaged"} {
		for _, content := range golden(f, name) {
			f.Add([]byte(content), false)
			f.Add([]byte(content), true)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, forged bool) {
		if forged {
			content = slices.Clone(content) // it belongs to the fuzzer
			forge(content)
		}
		all := files{"00000000000000000001.wal": string(content)}
		next := int64(0)
		if report, err := wal.Verify(options(load(t, all)), -1, nil); err == nil {
			next = report.End - report.Rows
		}
		m := load(t, all)
		l, got, report, err := tryOpen(options(m), next)
		if err != nil {
			if !maps.Equal(save(t, m), all) {
				t.Fatal("refused, but changed")
			}
			o := options(m)
			o.Recovery = wal.Salvage
			if l, got, report, err = tryOpen(o, next); err != nil {
				return
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, again, second, err := tryOpen(options(m), next)
		if err != nil {
			t.Fatalf("does not open again: %v", err)
		}
		same(t, "again", again, got)
		if second.End != report.End {
			t.Fatalf("ends at %d, then at %d", report.End, second.End)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := wal.Inspect(m, dir); err != nil {
			t.Fatal(err)
		}
	})
}

// forge makes all checksums of a segment right, so that the fuzzer gets behind them.
func forge(b []byte) {
	if len(b) < segment.HeaderBytes {
		return
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	order := binary.LittleEndian
	copy(b, "\x89PWAL\r\n\x1a\x01\x00\x00\x00")
	id := options(nil).Bucket
	copy(b[16:], id[:])
	order.PutUint64(b[32:], 1)
	order.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], table), table, b[16:segment.HeaderBytes]))
	for at := segment.HeaderBytes; len(b)-at >= segment.RecordBytes; {
		head, rest := b[at:at+segment.RecordBytes], b[at+segment.RecordBytes:]
		length := (order.Uint64(head[16:]) + 7) &^ 7
		if length <= uint64(len(rest)) {
			order.PutUint32(head[4:], crc32.Checksum(rest[:length], table))
		}
		copy(head[8:12], b[68:72])
		order.PutUint32(head, crc32.Update(uint32(at/8), table, head[4:]))
		if length > uint64(len(rest)) {
			return
		}
		at += segment.RecordBytes + int(length)
	}
}

func TestInspect(t *testing.T) {
	crashed, closed, entries := sample(t)
	rows := entries[11].first + entries[11].rows
	for name, all := range map[string]files{"closed": closed, "crashed": crashed} {
		infos, err := wal.Inspect(load(t, all), dir)
		if err != nil || len(infos) != 3 {
			t.Fatal(infos, err)
		}
		var count, sum int64
		for i, info := range infos {
			if info.Err != nil || info.Sequence != uint64(i+1) || info.Base != sum || info.Bucket != options(nil).Bucket || info.Sealed != (i < 2) ||
				info.Closed != (i < 2 || name == "closed") || info.Allocated != int64(len(all[all.names()[i]])) || info.Bytes > info.Allocated {
				t.Errorf("%s: %+v", name, info)
			}
			sum += info.Rows
			count += info.Entries
		}
		if count != 12 || sum != rows || infos[2].Preamble != int64(len("schema two, longer")) {
			t.Errorf("%s: %d entries, %d rows", name, count, sum)
		}
	}
	b := []byte(closed[closed.names()[1]])
	b[len(b)-1] ^= 1
	infos, err := wal.Inspect(load(t, closed.with(closed.names()[1], string(b))), dir)
	if err != nil || infos[0].Err != nil || infos[1].Err == nil || infos[2].Err != nil {
		t.Error(infos, err)
	}
	if infos, err := wal.Inspect(load(t, nil), "/nowhere"); err != nil || len(infos) != 0 {
		t.Error(infos, err)
	}
}

func TestVerifyUnknownTable(t *testing.T) {
	_, closed, entries := sample(t)
	all := closed.without(closed.names()[0])
	var got []entry
	report, err := wal.Verify(options(load(t, all)), -1, collect(&got))
	if err != nil || report.Entries != int64(len(got)) {
		t.Fatal(report, err)
	}
	same(t, "without the first segment", got, entries[len(entries)-len(got):])
	if report, err := wal.Verify(options(load(t, nil)), -1, nil); err != nil || report.End != 0 {
		t.Error(report, err)
	}
}
