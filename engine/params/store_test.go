package params

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
)

// TestSizes saves and loads tensors whose sizes are around all bounds there are, also in part and at every kind of address.
func TestSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := opened(t, t.TempDir(), nil)
	var tensors []Tensor
	sizes := []int{
		0, 1, 63, 64, 65, pack.LargeBytes - 1, pack.LargeBytes, pack.LargeBytes + 1, pack.BlockBytes - pack.Phase - 1, pack.BlockBytes - pack.Phase,
		pack.BlockBytes - pack.Phase + 1, pack.BlockBytes, jobBytes - pack.Phase, jobBytes + 1, 9*pack.BlockBytes + 7, 17 * pack.BlockBytes,
	}
	for i, size := range sizes {
		tensors = append(tensors, tensorOf(fmt.Sprint(i), noise(rng, size)))
	}
	entry := mustSave(t, s, "m", tensors, SaveOptions{})
	if entry.Version != 1 || entry.Tensors != len(sizes) {
		t.Errorf("%+v", entry)
	}
	found, err := loadAll(s, "m", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := differs(found, tensors); err != nil {
		t.Error(err)
	}
	v, err := s.Open("m", "1")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	memory := vfs.Aligned(20 * pack.BlockBytes)
	for i := range 400 {
		tensor := rng.IntN(len(sizes))
		from := rng.IntN(sizes[tensor] + 1)
		n := rng.IntN(sizes[tensor] - from + 1)
		at := []int{0, 16, 64, from % 512, (64 + from) % 512, rng.IntN(5000)}[i%6]
		into := memory[at : at+n]
		clear(memory)
		if i%3 == 0 {
			dropCache(t, s)
		}
		if err := v.Load([]Want{{Tensor: tensor, Offset: int64(from), Into: into}}, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(into, tensors[tensor].Data[from:from+n]) {
			t.Fatalf("%d bytes from %d of %d are others at %d", n, from, sizes[tensor], at)
		}
		if at > 0 && memory[at-1] != 0 || memory[at+n] != 0 {
			t.Fatal("memory beside what was asked for was written to")
		}
	}
}

// dropCache has reads go to the disk, where the system lets it.
func dropCache(t *testing.T, s *Store) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, packs, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		forget(t, file)
	}
}

func TestWhatIsTheSameIsStoredOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	s := opened(t, t.TempDir(), nil)
	tensors := make([]Tensor, 10)
	for i := range tensors {
		tensors[i] = tensorOf(fmt.Sprint(i), noise(rng, 300_000+i))
	}
	tensors = append(tensors, tensorOf("copy of 3", tensors[3].Data), tensorOf("small", noise(rng, 100)), tensorOf("small too", nil))
	first := mustSave(t, s, "m", tensors, SaveOptions{})
	if first.Stored > 3_100_000 {
		t.Errorf("the first version took %d bytes", first.Stored)
	}
	for name, store := range map[string]*Store{"the same store": s, "one that is opened later": opened(t, s.dir, nil)} {
		for _, model := range []string{"m", "another/name"} {
			if again := mustSave(t, store, model, tensors, SaveOptions{}); again.Stored > 3000 {
				t.Errorf("%s: the same version of %s took %d bytes", name, model, again.Stored)
			}
		}
	}
	tensors[5].Data = noise(rng, 300_000)
	tensors[5].Shape = []int64{300, 1000}
	if changed := mustSave(t, s, "m", tensors, SaveOptions{}); changed.Stored > 315_000 {
		t.Errorf("a version with one other tensor took %d bytes", changed.Stored)
	}
	found, err := loadAll(s, "m", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := differs(found, tensors); err != nil {
		t.Error(err)
	}
	diff := diffOf(t, s, "m", "1", "latest")
	if len(diff.Changes) != 1 || diff.Changes[0] != (Change{"5", "changed", 300_000}) || diff.Same != 12 {
		t.Errorf("%+v", diff)
	}
}

func diffOf(t *testing.T, s *Store, name, from, to string) *Difference {
	t.Helper()
	a, err := s.Open(name, from)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := s.Open(name, to)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return Diff(a, b)
}

func TestDiffOfNames(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	a := []Tensor{tensorOf("a", []byte("1")), tensorOf("b", []byte("22")), tensorOf("x", []byte("333"))}
	b := []Tensor{tensorOf("b", []byte("22")), {Name: "x", DType: "I8", Shape: []int64{3}, Data: []byte("333")}, tensorOf("z", nil)}
	mustSave(t, s, "m", a, SaveOptions{})
	mustSave(t, s, "m", b, SaveOptions{})
	got := diffOf(t, s, "m", "1", "2")
	want := []Change{{"a", "removed", 1}, {"x", "changed", 3}, {"z", "added", 0}}
	if fmt.Sprint(got.Changes) != fmt.Sprint(want) || got.Same != 1 || got.Bytes != 5 || got.Changed != 3 {
		t.Errorf("%+v", got)
	}
}

func TestOrderAndTies(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	tensors := []Tensor{
		{Name: "z\x00\n\"ä", DType: "BF16", Shape: []int64{2, 3}, Data: make([]byte, 12), Tie: 1},
		{Name: "", DType: "F32", Data: make([]byte, 4)},
		{Name: "a", DType: "BF16", Shape: []int64{3, 2}, Data: make([]byte, 12), Tie: 1},
		{Name: "b", DType: "BF16", Shape: []int64{0, 7}},
	}
	mustSave(t, s, "m", tensors, SaveOptions{})
	v, err := s.Open("m", Latest)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i, info := range v.Tensors() {
		want := tensors[i]
		if info.Name != want.Name || info.DType != want.DType || fmt.Sprint(info.Shape) != fmt.Sprint(want.Shape) ||
			info.Bytes != int64(len(want.Data)) || info.Tie != want.Tie {
			t.Errorf("%+v, want %+v", info, want)
		}
	}
}

func TestRefusedTensors(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	for name, test := range map[string]struct {
		tensors []Tensor
		says    string
	}{
		"size":     {[]Tensor{{Name: "t", DType: "F32", Shape: []int64{7}, Data: make([]byte, 10)}}, `"t": 10 bytes cannot be [7]`},
		"nothing":  {[]Tensor{{Name: "t", DType: "F32", Shape: []int64{3}}}, "0 bytes"},
		"too much": {[]Tensor{{Name: "t", DType: "F32", Shape: []int64{0}, Data: []byte{1}}}, "1 bytes"},
		"negative": {[]Tensor{{Name: "t", DType: "F32", Shape: []int64{-1}}}, "no shape [-1]"},
		"huge":     {[]Tensor{{Name: "t", DType: "F32", Shape: []int64{1 << 40, 1 << 40}}}, "no shape"},
		"dtype":    {[]Tensor{{Name: "t", DType: "F\n", Data: []byte{1}}}, `dtype "F\n" is none`},
		"no dtype": {[]Tensor{{Name: "t", Data: []byte{1}}}, "dtype"},
		"name":     {[]Tensor{{Name: "\xff", DType: "U8", Data: []byte{1}}}, "UTF-8"},
		"tie":      {[]Tensor{{Name: "t", DType: "U8", Data: []byte{1}, Tie: 1}, {Name: "u", DType: "U8", Data: []byte{2}, Tie: 1}}, `"u" is one in memory`},
		"twice":    {[]Tensor{tensorOf("t", nil), tensorOf("u", nil), tensorOf("t", nil)}, `two tensors with the name "t"`},
	} {
		_, err := s.Save("m", test.tensors, SaveOptions{})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		wantContains(t, err, test.says)
	}
	if names, err := s.List(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestTags(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	at := func(n uint64) *uint64 { return &n }
	for range 3 {
		mustSave(t, s, "m", nil, SaveOptions{Tags: []string{"newest"}})
	}
	for i, step := range []struct {
		do   func() error
		want error
	}{
		{func() error { _, err := s.SetTag("m", "prod", "1", at(0)); return err }, nil},
		{func() error { _, err := s.SetTag("m", "prod", "2", at(0)); return err }, ErrConflict},
		{func() error { _, err := s.SetTag("m", "prod", "newest", at(1)); return err }, nil},
		{func() error { _, err := s.SetTag("m", "prod", "7", nil); return err }, ErrNotFound},
		{func() error { _, err := s.SetTag("m", "latest", "1", nil); return err }, ErrInvalid},
		{func() error { _, err := s.SetTag("m", "12", "1", nil); return err }, ErrInvalid},
		{func() error { _, err := s.SetTag("other", "prod", "1", nil); return err }, ErrNotFound},
		{func() error { return s.DeleteTag("m", "prod", at(1)) }, ErrConflict},
		{func() error { return s.DeleteTag("m", "none", nil) }, ErrNotFound},
		{func() error { return s.Delete("m", []uint64{1}) }, nil},
		{func() error { return s.Delete("m", []uint64{1}) }, ErrNotFound},
		{func() error { return s.Delete("m", []uint64{3}) }, ErrConflict},
		{func() error { _, err := s.Save("m", nil, SaveOptions{Expect: at(2)}); return err }, ErrConflict},
		{func() error { _, err := s.Save("m", nil, SaveOptions{Expect: at(3)}); return err }, nil},
		{func() error { return s.DeleteTag("m", "prod", at(3)) }, nil},
	} {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	n, err := s.Get("m")
	if err != nil || n.Latest != 4 || fmt.Sprint(n.Tags) != "map[newest:3]" || len(n.Versions) != 3 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := s.Delete("m", nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Get("m"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if e := mustSave(t, s, "m", nil, SaveOptions{}); e.Version != 5 {
		t.Errorf("version %d was given again", e.Version)
	}
}

// TestTagsOfMany has many openers set a tag that each expects where it read it: none may be lost.
func TestTagsOfMany(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	const openers, each = 4, 25
	for range openers*each + 1 {
		mustSave(t, s, "m", nil, SaveOptions{})
	}
	if _, err := s.SetTag("m", "count", "1", nil); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range openers {
		wait.Go(func() {
			own, err := Open(dir, Options{})
			for done := 0; err == nil && done < each; {
				var n *Name
				if n, err = own.Get("m"); err != nil {
					break
				}
				now := n.Tags["count"]
				_, err = own.SetTag("m", "count", fmt.Sprint(now+1), &now)
				if err == nil {
					done++
				} else if errors.Is(err, ErrConflict) {
					err = nil
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	n, err := s.Get("m")
	if err != nil || n.Tags["count"] != openers*each+1 {
		t.Errorf("%d, %v", n.Tags["count"], err)
	}
}

func TestCollect(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	dir := t.TempDir()
	s := opened(t, dir, nil)
	shared, old := noise(rng, 200_000), noise(rng, 200_000)
	mustSave(t, s, "m", []Tensor{tensorOf("old", old)}, SaveOptions{})
	mustSave(t, s, "m", []Tensor{tensorOf("shared", shared)}, SaveOptions{})
	mustSave(t, s, "m", []Tensor{tensorOf("shared", shared), tensorOf("new", noise(rng, 200_000))}, SaveOptions{})
	v, err := s.Open("m", "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("m", []uint64{1, 2}); err != nil {
		t.Fatal(err)
	}
	other := opened(t, dir, nil)
	if c, err := other.Collect(); err != nil || c.Leased != 1 || c.Packs != 0 || c.Manifests != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if found, err := v.all(); err != nil || !bytes.Equal(found["old"], old) {
		t.Errorf("an open version lost its file: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Load(nil, true); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if c, err := other.Collect(); err != nil || c.Leased != 0 || c.Packs != 1 || c.Manifests != 1 || c.Bytes < 200_000 {
		t.Errorf("%+v, %v", c, err)
	}
	// The index of s still knows the pack that is gone.
	e := mustSave(t, s, "m", []Tensor{tensorOf("old", old), tensorOf("shared", shared)}, SaveOptions{})
	if e.Stored < 200_000 || e.Stored > 300_000 {
		t.Errorf("%d bytes stored", e.Stored)
	}
	if report, err := s.Verify(""); err != nil || !report.Sound || report.Versions != 2 || report.Bytes != 600_000 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestLoadsBesideSavesAndCollections has versions read, saved, deleted and collected all at once.
func TestLoadsBesideSavesAndCollections(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	rng := rand.New(rand.NewPCG(7, 8))
	all := [][]byte{noise(rng, 100_000), noise(rng, 100_000), noise(rng, 3000), noise(rng, 70_000)}
	version := func(n int) []Tensor {
		stamp, err := json.Marshal(n)
		if err != nil {
			panic(err)
		}
		return []Tensor{tensorOf("stamp", stamp), tensorOf("a", all[n%4]), tensorOf("b", all[(n/4)%4])}
	}
	mustSave(t, s, "m", version(1), SaveOptions{})
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			own := opened(t, dir, nil)
			last := uint64(0)
			for i := 0; ; i++ {
				select {
				case <-stop:
					if i < 20 {
						t.Errorf("only %d loads", i)
					}
					return
				default:
				}
				v, err := own.Open("m", Latest)
				if err != nil {
					t.Error(err)
					return
				}
				found, err := v.all()
				if err == nil {
					err = differs(found, version(int(v.Entry.Version)))
				}
				if err != nil || v.Entry.Version < last {
					t.Errorf("version %d after %d: %v", v.Entry.Version, last, err)
				}
				last = v.Entry.Version
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	collector := opened(t, dir, nil)
	for n := 2; n <= 60; n++ {
		mustSave(t, s, "m", version(n), SaveOptions{})
		if err := s.Delete("m", []uint64{uint64(n - 1)}); err != nil {
			t.Fatal(err)
		}
		if _, err := collector.Collect(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wait.Wait()
}

func TestDirectoriesThatAreNoStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	wantContains(t, err, "notes.txt")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v was left there, %v", left, err)
	}
	if _, err := Open(filepath.Join(dir, "none"), Options{ReadOnly: true}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made")
	}
	lost := filepath.Join(dir, "lost")
	s := opened(t, lost, nil)
	mustSave(t, s, "m", nil, SaveOptions{})
	if err := os.Remove(filepath.Join(lost, storeName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(lost, Options{}); !errors.Is(err, engine.ErrCorrupt) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.List(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	names := []string{"a", "A", "a.tmp", "a.cat.tmp", ".hidden", "..", "org/model:1 %", "ä", "x\x00y"}
	for i, name := range names {
		mustSave(t, s, name, []Tensor{tensorOf("t", []byte{byte(i)})}, SaveOptions{})
	}
	for i, name := range names {
		found, err := loadAll(s, name, Latest)
		if err != nil || found["t"][0] != byte(i) {
			t.Errorf("%q: %v, %v", name, found, err)
		}
	}
	if all, err := s.List(); err != nil || len(all) != len(names) {
		t.Errorf("%d names, %v", len(all), err)
	}
	for _, name := range []string{"", string(make([]byte, 100))} {
		if _, err := s.Save(name, nil, SaveOptions{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
