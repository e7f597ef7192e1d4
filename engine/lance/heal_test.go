package lance

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
)

// damaged makes a table with three appends of 10 rows and closes it. It returns
// the directory and the manifests, the newest first.
func damaged(t *testing.T) (dir string, manifests []string) {
	t.Helper()
	table := create(t, ids)
	for i := range int64(3) {
		appendRows(t, table, i*10, i*10+10)
	}
	closeTable(t, table)
	manifests, err := filepath.Glob(filepath.Join(table.Dir(), "_versions", "*.manifest"))
	if err != nil || len(manifests) != 4 {
		t.Fatalf("manifests %v, %v", manifests, err)
	}
	slices.Sort(manifests)
	return table.Dir(), manifests
}

// dataFile returns the newest data file.
func dataFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data", "*.lance"))
	if err != nil || len(files) != 3 {
		t.Fatalf("data files %v, %v", files, err)
	}
	return slices.MaxFunc(files, func(a, b string) int {
		return statFile(t, a).ModTime().Compare(statFile(t, b).ModTime())
	})
}

func statFile(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	i, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// heal puts a table in order, whatever its newest version is.
func heal(dir string) ([]string, error) { return healTo(dir, 0) }

func healTo(dir string, newest uint64) ([]string, error) {
	state, err := Check(dir, CheckOptions{Newest: newest})
	if err != nil {
		return nil, err
	}
	return Heal(dir, &state)
}

func TestHeal(t *testing.T) {
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	cutEnd := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	zeros := func(b []byte) []byte { return make([]byte, len(b)) }
	position := func(p uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[len(b)-16:], p)
			return b
		}
	}
	type damage struct {
		manifest int // which one, the newest is 0; -1: the newest data file
		change   func([]byte) []byte
	}
	for name, c := range map[string]struct {
		damage []damage
		rows   int64
		aside  int
	}{
		"nothing":                 {nil, 30, 0},
		"empty manifest":          {[]damage{{0, cut(0)}}, 20, 1},
		"short manifest":          {[]damage{{0, cut(15)}}, 20, 1},
		"torn manifest":           {[]damage{{0, cutEnd(1)}}, 20, 1},
		"torn in the middle":      {[]damage{{0, func(b []byte) []byte { return b[:len(b)/2] }}}, 20, 1},
		"zeroed manifest":         {[]damage{{0, zeros}}, 20, 1},
		"zeroed head, sound foot": {[]damage{{0, func(b []byte) []byte { clear(b[:len(b)-16]); return b }}}, 20, 1},
		"position out of range":   {[]damage{{0, position(1 << 62)}}, 20, 1},
		"negative position":       {[]damage{{0, position(1<<64 - 1)}}, 20, 1},
		"position at the end":     {[]damage{{0, func(b []byte) []byte { return position(uint64(len(b) - 16))(b) }}}, 20, 1},
		"giant length": {[]damage{{0, func(b []byte) []byte {
			p := binary.LittleEndian.Uint64(b[len(b)-16:])
			copy(b[p:], "\xff\xff\xff\xff")
			return b
		}}}, 20, 1},
		"rubbish message": {[]damage{{0, func(b []byte) []byte {
			p := binary.LittleEndian.Uint64(b[len(b)-16:])
			for i := p + 4; i < uint64(len(b)-16); i++ {
				b[i] ^= 0x55
			}
			return b
		}}}, 20, 1},
		"data file empty":          {[]damage{{-1, cut(0)}}, 20, 1},
		"data file short":          {[]damage{{-1, cutEnd(1)}}, 20, 1},
		"data file long":           {[]damage{{-1, func(b []byte) []byte { return append(b, "LANC"...) }}}, 20, 1},
		"data file zeroed":         {[]damage{{-1, zeros}}, 20, 1},
		"data file gone":           {[]damage{{-1, nil}}, 20, 1},
		"two manifests":            {[]damage{{0, cut(0)}, {1, cut(0)}}, 10, 2},
		"an older one":             {[]damage{{1, zeros}}, 30, 1},
		"the newest and the first": {[]damage{{0, cut(0)}, {3, cut(10)}}, 20, 2},
		"all but the first":        {[]damage{{0, zeros}, {1, zeros}, {2, zeros}}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir, manifests := damaged(t)
			for _, d := range c.damage {
				path := dataFile(t, dir)
				if d.manifest >= 0 {
					path = manifests[d.manifest]
				}
				if d.change == nil {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					continue
				}
				edit(t, path, d.change)
			}
			aside, err := heal(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(aside) != c.aside || c.aside == 0 && aside != nil {
				t.Fatalf("set aside %v", aside)
			}
			for _, name := range aside {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !strings.HasSuffix(name, ".manifest.corrupt") {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if again, err := heal(dir); err != nil || again != nil {
				t.Fatalf("healed again: %v, %v", again, err)
			}
			table := open(t, dir)
			s := must(t)(table.Snapshot())
			if s.NextRowID() != c.rows {
				t.Fatalf("%d rows", s.NextRowID())
			}
			checkIDs(t, s, c.rows)
			checkIDs(t, appendRows(t, table, c.rows, c.rows+5), c.rows+5)
			for range 3 {
				must(t)(table.Append([]arrow.Record{rows(t, 0, 1)}))
			}
			m, _, err := table.Compact(CompactOptions{MinFragments: 2})
			merged := must(t)(m, err)
			if _, err := table.Cleanup(merged.Version()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestHealNothingSound(t *testing.T) {
	dir, manifests := damaged(t)
	for _, m := range manifests {
		edit(t, m, func([]byte) []byte { return nil })
	}
	aside, err := heal(dir)
	if err != nil || len(aside) != 4 {
		t.Fatalf("%v, %v", aside, err)
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open: %v", err)
	}
	table := createIn(t, dir, ids, Config{})
	s := appendRows(t, table, 0, 3)
	checkIDs(t, s, 3)
	if _, err := table.Cleanup(s.Version()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "data", "*")); err != nil || len(left) != 1 {
		t.Fatalf("data files %v, %v", left, err)
	}
}

func TestHealTo(t *testing.T) {
	dir, _ := damaged(t)
	if aside, err := healTo(dir, 9); err != nil || aside != nil {
		t.Fatalf("%v, %v", aside, err)
	}
	aside, err := healTo(dir, 2)
	if err != nil || len(aside) != 2 {
		t.Fatalf("%v, %v", aside, err)
	}
	table := open(t, dir)
	checkIDs(t, must(t)(table.Snapshot()), 10)
	checkIDs(t, appendRows(t, table, 10, 12), 12)
}

// TestHealDamaged goes back behind a version whose manifest looks sound.
func TestHealDamaged(t *testing.T) {
	dir, manifests := damaged(t)
	state, err := Check(dir, CheckOptions{Damaged: 4})
	if err != nil {
		t.Fatal(err)
	}
	if v := state.Versions[0]; v.Torn == nil || v.Checked || v.Sound() || state.Head().Number != 3 {
		t.Fatalf("%+v", state)
	}
	aside, err := Heal(dir, &state)
	if err != nil || len(aside) != 1 || filepath.Base(aside[0]) != filepath.Base(manifests[0])+asideSuffix {
		t.Fatalf("%v, %v", aside, err)
	}
	checkIDs(t, must(t)(open(t, dir).Snapshot()), 20)
}

// Lance keeps a hint at the newest version. A stale one, with a gap after the
// version it names, must not make that the newest.
func TestStaleHint(t *testing.T) {
	table := create(t, ids)
	old := appendRows(t, table, 0, 10)
	hint := filepath.Join(table.Dir(), "_versions", "latest_version_hint.json")
	stale, err := os.ReadFile(hint)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(4) {
		s, err := table.Append([]arrow.Record{rows(t, 10+i*10, 20+i*10)})
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	if stats, err := table.Cleanup(6); err != nil || stats.Versions != 4 { // not the one that is held
		t.Fatalf("%+v, %v", stats, err)
	}
	checkIDs(t, old, 10)
	closeTable(t, table)
	if err := os.WriteFile(hint, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	if aside, err := heal(table.Dir()); err != nil || aside != nil {
		t.Fatalf("%v, %v", aside, err)
	}
	checkIDs(t, must(t)(open(t, table.Dir()).Snapshot()), 50)
}

func TestHealLeavesAlone(t *testing.T) {
	if aside, err := heal(filepath.Join(t.TempDir(), "none.lance")); err != nil || aside != nil {
		t.Fatalf("nothing there: %v, %v", aside, err)
	}
	if _, err := heal("/tmp/not a table"); !errors.Is(err, ErrInvalid) {
		t.Fatalf("not a table's name: %v", err)
	}
	dir, manifests := damaged(t)
	versions := filepath.Dir(manifests[0])
	for _, name := range []string{"x.manifest", ".manifest", "d1.manifest", "12.manifest#3", "12.manifest.corrupt", "notes.txt", "99999999999999999999.manifest"} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte("not ours"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if aside, err := heal(dir); err != nil || aside != nil {
		t.Fatalf("foreign files: %v, %v", aside, err)
	}
	checkIDs(t, must(t)(open(t, dir).Snapshot()), 30)

	file := filepath.Join(t.TempDir(), "t.lance")
	if err := os.MkdirAll(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(file, "_versions"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := heal(file); !errors.Is(err, ErrIO) {
		t.Fatalf("_versions is a file: %v", err)
	}
}

// A file that cannot be read says nothing about the version.
func TestHealUnreadable(t *testing.T) {
	dir, manifests := damaged(t)
	if err := os.Remove(manifests[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(manifests[0], 0o700); err != nil {
		t.Fatal(err)
	}
	if aside, err := heal(dir); !errors.Is(err, ErrIO) || aside != nil {
		t.Fatalf("%v, %v", aside, err)
	}
}

// Whatever stands in the head manifest, nothing crashes and what comes out is
// the head or the version before.
func FuzzHeal(f *testing.F) {
	f.Add(uint16(3), byte(0xff), uint16(100))
	f.Add(uint16(60000), byte(1), uint16(0))
	f.Fuzz(func(t *testing.T, at uint16, flip byte, cut uint16) {
		dir, manifests := damaged(t)
		edit(t, manifests[0], func(b []byte) []byte {
			b[int(at)%len(b)] ^= flip
			return b[:len(b)-int(cut)%len(b)]
		})
		if _, err := heal(dir); err != nil {
			t.Skip(err)
		}
		table, err := Open(dir, Config{})
		if err != nil {
			t.Skip(err)
		}
		defer closeTable(t, table)
		s, err := table.Snapshot()
		if err != nil {
			t.Skip(err)
		}
		defer s.Release()
		r, err := s.Read(0, 100, nil, 0)
		if err != nil {
			return
		}
		defer r.Close()
		for {
			rec, err := r.Next()
			if err != nil {
				return
			}
			rec.Release()
		}
	})
}
