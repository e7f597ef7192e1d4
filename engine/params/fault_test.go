package params

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// model is a few tensors that share bytes with those of its neighbours, and one that is told from that of the one before.
func model(n int) []Tensor {
	weights := floats(rand.New(rand.NewPCG(77, 9)), 4000)
	for k := range n {
		weights = trained(rand.New(rand.NewPCG(uint64(k), 78)), weights, 9, false)
	}
	at := func(k int) []byte { return noise(rand.New(rand.NewPCG(uint64(k), 9)), 66_000+k) }
	return []Tensor{
		tensorOf("w", at(n)), tensorOf("v", at(n/2)), tensorOf("frozen", at(1000)),
		tensorOf("n", []byte(fmt.Sprint(n))), bf16("trained", weights),
	}
}

// TestEachFault fails each operation of a save, a delete and a collection once: what was published stays, and what was not can
// be done again; nothing is left of it.
func TestEachFault(t *testing.T) {
	for _, short := range []bool{false, true} {
		for n := int64(1); ; n++ {
			nth := &faultfs.Nth{Err: syscall.ENOSPC}
			hook := &faultfs.Hook{FS: vfs.OS, Before: nth.Before, Short: short}
			dir := t.TempDir()
			s := opened(t, dir, hook)
			mustSave(t, s, "m", model(1), SaveOptions{Tags: []string{"tag"}, Base: Latest})
			mustSave(t, s, "m", model(2), fromLatest)
			before := nth.Count()
			nth.N = before + n
			e, err := s.Save("m", model(3), fromLatest)
			if err == nil {
				err = errors.Join(s.Delete("m", []uint64{2}), func() error { _, err := s.Collect(); return err }())
			} else if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("operation %d: %v", n, err)
			}
			done := nth.Count() < before+n
			nth.N = 0
			checkAfterFault(t, opened(t, dir, nil), n, e, err)
			if done {
				break
			}
		}
	}
}

func checkAfterFault(t *testing.T, s *Store, n int64, saved *Entry, failed error) {
	t.Helper()
	names, err := s.Get("m")
	if err != nil {
		t.Fatalf("operation %d (%v): %v", n, failed, err)
	}
	if saved != nil && names.Latest != saved.Version || names.Tags["tag"] != 1 {
		t.Fatalf("operation %d: %+v", n, names)
	}
	for _, e := range names.Versions {
		found, err := loadAll(s, "m", fmt.Sprint(e.Version))
		if err == nil {
			err = differs(found, model(int(e.Version)))
		}
		if err != nil {
			t.Fatalf("operation %d (%v): version %d: %v", n, failed, e.Version, err)
		}
	}
	if saved == nil && names.Latest == 2 { // all space is given back, by the save or by the collector
		if len(staged(t, s)) > 0 {
			if _, err := s.Collect(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(filesIn(t, s, packs)); got != 2 {
			t.Fatalf("operation %d (%v): %d packs are there, want 2", n, failed, got)
		}
	}
	mustSave(t, s, "m", model(int(names.Next)), fromLatest)
	if _, err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	if report, err := s.Verify(""); err != nil || !report.Sound {
		t.Fatalf("operation %d (%v): %+v, %v", n, failed, report, err)
	}
	if left := staged(t, s); len(left) > 0 {
		t.Fatalf("operation %d: %v is left", n, left)
	}
}

// staged are the files of saves that were not published.
func staged(t *testing.T, s *Store) []string {
	t.Helper()
	return slices.DeleteFunc(append(filesIn(t, s, packs), filesIn(t, s, manifests)...), func(name string) bool {
		return !strings.HasSuffix(name, stagedEnd)
	})
}

func filesIn(t *testing.T, s *Store, dir string) []string {
	t.Helper()
	names, err := s.o.FS.ReadDir(s.path(dir))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestFullDisk fails all writes from some place on: the save says so, and leaves nothing that takes space.
func TestFullDisk(t *testing.T) {
	for n := int64(1); n < 40; n++ {
		nth := &faultfs.Nth{Err: syscall.ENOSPC, Sticky: true}
		writes := func(op faultfs.Op) error {
			switch op.Name {
			case "writeat", "preallocate", "create":
				return nth.Before(op)
			}
			return nil
		}
		dir := t.TempDir()
		s := opened(t, dir, &faultfs.Hook{FS: vfs.OS, Before: writes, Short: true})
		mustSave(t, s, "m", model(1), fromLatest)
		before := nth.Count()
		nth.N = before + n
		_, err := s.Save("m", model(2), fromLatest)
		if err == nil {
			if n < 5 {
				t.Fatalf("a save made only %d writes", n)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d: %v", n, err)
		}
		names, err := s.Get("m")
		if err != nil || names.Latest != 1 || len(filesIn(t, s, packs)) != 1 || len(filesIn(t, s, manifests)) != 1 ||
			len(staged(t, s)) != 0 {
			t.Fatalf("write %d: %+v, %v, packs %v", n, names, err, filesIn(t, s, packs))
		}
	}
	t.Fatal("no save succeeded")
}

// TestPanic has the file system panic under the goroutines of a save and of a load: that is an error of the call.
func TestPanic(t *testing.T) {
	for _, name := range []string{"writeat", "readat"} {
		armed := false
		hook := &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
			if armed && op.Name == name && strings.Contains(op.Path, packs) {
				panic("on purpose")
			}
			return nil
		}}
		s := opened(t, t.TempDir(), hook)
		mustSave(t, s, "m", model(1), fromLatest)
		armed = true
		_, err := s.Save("m", model(2), fromLatest)
		if name == "readat" {
			_, err = loadAll(s, "m", "1")
		}
		armed = false
		if !errors.Is(err, engine.ErrPanic) {
			t.Errorf("%s: %v", name, err)
		}
		if found, err := loadAll(s, "m", "1"); err != nil || differs(found, model(1)) != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := staged(t, s); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

// TestPower takes the power away at any operation: what had returned is there, and whatever is listed is whole.
func TestPower(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := faultfs.NewMem()
		nth := &faultfs.Nth{Err: faultfs.ErrCrashed, Sticky: true, N: 1 + rng.Int64N(260)}
		hook := &faultfs.Hook{FS: mem, Before: nth.Before, Short: true}
		var saved, deleted uint64
		if s, err := Open("/s", Options{FS: hook, locks: &memLocks{}}); err == nil {
			for n := 1; n < 20 && err == nil; n++ {
				var e *Entry
				if e, err = s.Save("m", model(n), SaveOptions{Tags: []string{"tag"}, Base: Latest}); err == nil {
					saved = e.Version
				}
				if err == nil && n%3 == 0 {
					if err = s.Delete("m", []uint64{uint64(n - 1)}); err == nil {
						deleted = uint64(n - 1)
						_, err = s.Collect()
					}
				}
			}
		}
		mem.Crash(rng)
		checkAfterCrash(t, seed, mem, saved, deleted)
	}
}

func checkAfterCrash(t *testing.T, seed uint64, mem *faultfs.Mem, saved, deleted uint64) {
	t.Helper()
	s, err := Open("/s", Options{FS: mem, locks: &memLocks{}})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	n, err := s.read("m")
	if err != nil || n.Latest < saved || n.Tags["tag"] != n.Latest {
		t.Fatalf("seed %d: latest %d, tag %d, saved %d, %v", seed, n.Latest, n.Tags["tag"], saved, err)
	}
	for _, e := range n.Versions {
		if e.Version == deleted {
			t.Fatalf("seed %d: version %d was deleted", seed, e.Version)
		}
		found, err := loadAll(s, "m", fmt.Sprint(e.Version))
		if err == nil {
			err = differs(found, model(int(e.Version)))
		}
		if err != nil {
			t.Fatalf("seed %d: version %d: %v", seed, e.Version, err)
		}
	}
	next := model(int(n.Next))
	mustSave(t, s, "m", next, fromLatest)
	if _, err := s.Collect(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if left := staged(t, s); len(left) > 0 {
		t.Fatalf("seed %d: %v is left", seed, left)
	}
	if report, err := s.Verify(""); err != nil || !report.Sound {
		t.Fatalf("seed %d: %+v, %v", seed, report, err)
	}
}

// TestFlips changes single bits of all files: a load fails, or returns what was saved.
func TestFlips(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	mustSave(t, s, "m", model(1), fromLatest)
	mustSave(t, s, "m", model(2), fromLatest)
	rounds := 3000
	if testing.Short() {
		rounds = 500
	}
	var files []string
	for _, pattern := range []string{"parameters", "catalog/*", "manifests/*", "packs/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	rng := rand.New(rand.NewPCG(10, 11))
	noticed := map[string]int{}
	for range rounds {
		path := files[rng.IntN(len(files))]
		was := flip(t, path, rng)
		err := loadBoth(dir)
		kind := filepath.Base(filepath.Dir(path))
		switch {
		case err == nil:
		case errors.Is(err, errWrong):
			t.Fatalf("%s: %v", path, err)
		case !errors.Is(err, engine.ErrCorrupt) && kind != filepath.Base(dir):
			t.Fatalf("%s: %v", path, err)
		default:
			noticed[kind]++
			if !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Fatalf("%q does not name %s", err, path)
			}
		}
		if err == nil && kind != packs {
			t.Fatalf("%s was changed and nobody noticed", path)
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(noticed) != 4 || noticed[packs] < rounds/10 {
		t.Error(noticed)
	}
}

var errWrong = errors.New("other bytes were loaded")

func loadBoth(dir string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	for n := 1; n <= 2; n++ {
		found, err := loadAll(s, "m", fmt.Sprint(n))
		if err != nil {
			return err
		}
		if err := differs(found, model(n)); err != nil {
			return fmt.Errorf("%w: %w", errWrong, err)
		}
	}
	return nil
}

// flip changes a bit of a file and returns what it held.
func flip(t *testing.T, path string, rng *rand.Rand) []byte {
	t.Helper()
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), was...)
	changed[rng.IntN(len(changed))] ^= 1 << rng.IntN(8)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	return was
}

// TestVerifyTellsOfAllFaults damages two tensors, an index and a catalog.
func TestVerifyTellsOfAllFaults(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	mustSave(t, s, "m", model(1), fromLatest)
	mustSave(t, s, "other", model(8), SaveOptions{})
	v, err := s.Open("m", Latest)
	if err != nil {
		t.Fatal(err)
	}
	m, path := v.m, s.packPath(v.m.packs[0])
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	change := func(path string, off int64) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{0xff, 0xfe, 0xfd}, off); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"w", "n"} {
		i, _ := m.find(name)
		change(path, m.offsets[m.objectOf[i]])
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	change(path, info.Size()-pack.TrailerBytes+16)
	change(s.path(catalogDir, "other.cat"), 30)
	report, err := s.Verify("")
	if err != nil || report.Sound || len(report.Faults) != 4 || report.Versions != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, part := range []string{`tensor "w"`, `tensor "n"`, "does not end as the pack", "other.cat"} {
		if !strings.Contains(strings.Join(report.Faults, "\n"), part) {
			t.Errorf("%q lacks %q", report.Faults, part)
		}
	}
	if report, err := s.Verify("m"); err != nil || len(report.Faults) != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := s.Collect(); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("the collector went on: %v", err)
	}
	if e := mustSave(t, opened(t, dir, nil), "m", model(1), SaveOptions{}); e.Stored < 100_000 {
		t.Errorf("a damaged index was believed: %+v", e)
	}
}
