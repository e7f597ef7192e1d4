package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// salvaged opens a damaged log, checks that everything it gives was put, that the ranges it misses are those it does not give,
// and that what remains is a sound log. It returns the entries.
func salvaged(t *testing.T, o wal.Options, next int64, entries []entry) []entry {
	t.Helper()
	o.Recovery = wal.Salvage
	before := save(t, o.FS)
	var seen []entry
	verified, err := wal.Verify(o, next, collect(&seen))
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if !maps.Equal(save(t, o.FS), before) {
		t.Fatal("verify changed the directory")
	}
	l, got, report, err := tryOpen(o, next)
	if err != nil {
		t.Fatalf("salvage: %v", err)
	}
	same(t, "verified and salvaged", seen, got)
	if fmt.Sprint(verified.Missing, verified.Broken, verified.End) != fmt.Sprint(report.Missing, report.Broken, report.End) {
		t.Fatalf("verify reported %+v, salvage %+v", verified, report)
	}
	at, missing := next, []wal.Range(nil)
	for _, e := range got {
		if !slices.Contains(entries, e) {
			t.Fatalf("garbage: %v", e)
		}
		if e.first > at {
			missing = append(missing, wal.Range{First: at, End: e.first})
		}
		at = e.first + e.rows
	}
	reported := slices.Clone(report.Missing)
	if n := len(reported); n > 0 && reported[n-1].End < 0 {
		reported = reported[:n-1]
	}
	if report.End > at {
		missing = append(missing, wal.Range{First: at, End: report.End})
	}
	if join := merge(reported); fmt.Sprint(join) != fmt.Sprint(merge(missing)) {
		t.Fatalf("missing %v, reported %v", missing, reported)
	}
	for _, name := range report.Broken {
		content, ok := save(t, o.FS)[name[len(dir)+1:]]
		if original := strings.TrimSuffix(name, ".broken")[len(dir)+1:]; !ok || content != before[original] {
			t.Fatalf("%s is not the damaged file", name)
		}
	}
	extra := put(t, l, "p", "after the salvage", 1)
	closeLog(t, l)
	o.Recovery = wal.Strict
	l, again, report, err := tryOpen(o, next)
	if err != nil {
		t.Fatalf("open after salvage: %v", err)
	}
	same(t, "after salvage", again, append(slices.Clone(got), extra))
	if fmt.Sprint(merge(report.Missing)) != fmt.Sprint(merge(reported)) {
		t.Fatalf("the second open misses %v, the salvage %v", report.Missing, reported)
	}
	closeLog(t, l)
	return got
}

// merge joins ranges that touch.
func merge(ranges []wal.Range) (out []wal.Range) {
	for _, r := range ranges {
		if n := len(out); n > 0 && out[n-1].End == r.First {
			out[n-1].End = r.End
		} else {
			out = append(out, r)
		}
	}
	return out
}

func TestSalvageEveryByte(t *testing.T) {
	crashed, closed, entries := sample(t)
	step := 3
	if *slow {
		step = 1
	}
	for kind, all := range map[string]files{"closed": closed, "not closed": crashed} {
		t.Run(kind, func(t *testing.T) {
			for n, name := range all.names() {
				for at := n; at < len(all[name]); at += step {
					b := []byte(all[name])
					b[at] ^= 1 << (at % 8)
					o := options(load(t, all.with(name, string(b))))
					if _, err := wal.Verify(o, 0, nil); err == nil {
						continue // a torn tail
					} else if errors.Is(err, segment.ErrUnsupportedVersion) || errors.Is(err, segment.ErrForeign) {
						t.Fatalf("%s byte %d: damage taken for something else: %v", name, at, err)
					}
					got := salvaged(t, o, 0, entries)
					if len(got) < len(entries)-1 && (kind == "closed" || n < 2) {
						t.Fatalf("%s byte %d: only %d of %d entries were saved", name, at, len(got), len(entries))
					}
				}
			}
		})
	}
}

func TestSalvageEveryLength(t *testing.T) {
	_, closed, entries := sample(t)
	for n, name := range closed.names() {
		for size := n; size < len(closed[name]); size += 5 {
			o := options(load(t, closed.with(name, closed[name][:size])))
			got := salvaged(t, o, 0, entries)
			if others := len(entries) - 6; size > segment.HeaderBytes && len(got) < others {
				t.Fatalf("%s cut to %d: only %d of %d entries were saved", name, size, len(got), len(entries))
			}
		}
	}
}

func TestSalvageDamageEverywhere(t *testing.T) {
	_, closed, entries := sample(t)
	all := maps.Clone(closed)
	for _, name := range closed.names() {
		b := []byte(all[name])
		for at := 300; at < len(b); at += 400 {
			b[at] ^= 0xff
		}
		all[name] = string(b)
	}
	got := salvaged(t, options(load(t, all)), 0, entries)
	if len(got) < 6 {
		t.Errorf("only %d entries were saved", len(got))
	}
}

func TestSalvageFrontOfFile(t *testing.T) {
	_, closed, entries := sample(t)
	for _, name := range closed.names() {
		b := []byte(closed[name])
		clear(b[:200]) // header, preamble and the beginning of the first entry
		got := salvaged(t, options(load(t, closed.with(name, string(b)))), 0, entries)
		if len(got) < len(entries)-1 {
			t.Errorf("%s: %d of %d entries were saved", name, len(got), len(entries))
		}
	}
}

func TestSalvageGap(t *testing.T) {
	_, closed, entries := sample(t)
	o := options(load(t, closed.without(closed.names()[0])))
	got := salvaged(t, o, 2, entries)
	if got[0] == entries[0] || !slices.Equal(got, entries[len(entries)-len(got):]) {
		t.Errorf("%d entries were saved", len(got))
	}
}

func TestSalvageOfSoundLog(t *testing.T) {
	crashed, closed, entries := sample(t)
	for name, all := range map[string]files{"closed": closed, "not closed": crashed} {
		m := load(t, all)
		o := options(m)
		o.Recovery = wal.Salvage
		_, got, report := open(t, o, 0)
		same(t, name, got, entries)
		if report.Broken != nil || report.Faults != nil || report.Missing != nil {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

// TestSalvageTwice damages what a salvage wrote.
func TestSalvageTwice(t *testing.T) {
	_, closed, entries := sample(t)
	name := closed.names()[0]
	m := load(t, closed)
	for round, at := range []int{300, 400} {
		b := []byte(save(t, m)[name])
		b[at] ^= 1
		m = load(t, save(t, m).with(name, string(b)))
		o := options(m)
		o.Recovery = wal.Salvage
		l, got, report, err := tryOpen(o, 0)
		if err != nil || len(report.Broken) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		if round == 1 && !strings.HasSuffix(report.Broken[0], ".broken.1") {
			t.Errorf("the second broken file is %s", report.Broken[0])
		}
		for _, e := range got {
			if !slices.Contains(entries, e) {
				t.Fatalf("garbage: %v", e)
			}
		}
		closeLog(t, l)
	}
}

// badSector cannot be read at some place of a file.
type badSector struct {
	vfs.FS
	path string
	from int64
	to   int64
}

type badFile struct {
	vfs.File
	b badSector
}

func (b badSector) Open(path string) (vfs.File, error) {
	f, err := b.FS.Open(path)
	if err != nil || path != b.path {
		return f, err
	}
	return badFile{f, b}, nil
}

func (f badFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.b.to && off+int64(len(p)) > f.b.from {
		return 0, syscall.EIO
	}
	n, err := f.File.ReadAt(p, off)
	if errors.Is(err, io.EOF) && n == len(p) {
		err = nil
	}
	return n, err
}

func TestSalvageBadSector(t *testing.T) {
	m := faultfs.NewMem()
	o := options(m)
	o.SegmentBytes = 64 << 10
	l, _, _ := open(t, o, 0)
	for i := range 100 {
		put(t, l, "p", content(0, int64(i), 300), 1)
	}
	closeLog(t, l)
	for _, from := range []int64{0, 8 << 10, 32 << 10} {
		o.FS = badSector{m, dir + "/00000000000000000001.wal", from, from + 4096}
		if _, _, _, err := tryOpen(o, 0); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sector at %d: %v", from, err)
		}
		o.Recovery = wal.Salvage
		var got []entry
		report, err := wal.Verify(o, 0, collect(&got))
		if err != nil || len(got) < 85 || len(got) > 95 || len(report.Missing) != 1 {
			t.Errorf("sector at %d: %d entries, %+v, %v", from, len(got), report, err)
		}
		o.Recovery = wal.Strict
	}
}

func TestProgressIsLogged(t *testing.T) {
	t.Parallel()
	_, closed, entries := sample(t)
	o := options(load(t, closed))
	var text bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&text, nil))
	if _, err := wal.Verify(o, 0, func(segment.Entry) error {
		time.Sleep(2 * time.Second / time.Duration(len(entries)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "wal: reading"); n < 1 || n > 2 {
		t.Errorf("%d reports of progress in two seconds: %s", n, &text)
	}
}
