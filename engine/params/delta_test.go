package params

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/params/pack"
)

// floats are bf16 weights as a layer has.
func floats(rng *rand.Rand, count int) []byte {
	memory := make([]byte, 0, 2*count)
	for range count {
		bits := math.Float32bits(float32(rng.NormFloat64() * 0.02))
		memory = binary.LittleEndian.AppendUint16(memory, uint16(bits>>16))
	}
	return memory
}

// trained is what a step of training makes of weights: a few of 1000 move by a unit of the last place, up or down, or up only.
func trained(rng *rand.Rand, data []byte, share int, drift bool) []byte {
	after := bytes.Clone(data)
	for i := 0; i+2 <= len(after); i += 2 {
		if rng.IntN(1000) >= share {
			continue
		}
		by := uint16(1)
		if !drift && rng.IntN(2) == 0 {
			by = math.MaxUint16
		}
		binary.LittleEndian.PutUint16(after[i:], binary.LittleEndian.Uint16(after[i:])+by)
	}
	return after
}

func bf16(name string, data []byte) Tensor {
	return Tensor{Name: name, DType: "BF16", Shape: []int64{int64(len(data) / 2)}, Data: data}
}

// history is a model in training: version n is the n-th.
type history struct {
	rng      *rand.Rand
	drift    bool
	versions [][]Tensor
}

func newHistory(sizes ...int) *history {
	h := &history{rng: rand.New(rand.NewPCG(20, 21))}
	first := []Tensor{tensorOf("frozen", noise(h.rng, 200_000)), tensorOf("step", []byte("0"))}
	for i, size := range sizes {
		first = append(first, bf16(fmt.Sprintf("w%d", i), floats(h.rng, size)))
	}
	h.versions = append(h.versions, first)
	return h
}

// step trains once, and returns what the model is then.
func (h *history) step(share int) []Tensor {
	last := h.versions[len(h.versions)-1]
	next := append([]Tensor(nil), last...)
	for i := range next {
		switch next[i].DType {
		case "BF16":
			next[i].Data = trained(h.rng, last[i].Data, share, h.drift)
		default:
			if next[i].Name == "step" {
				next[i] = tensorOf("step", []byte(fmt.Sprint(len(h.versions))))
			}
		}
	}
	h.versions = append(h.versions, next)
	return next
}

// check loads every version that there is.
func (h *history) check(t *testing.T, s *Store) {
	t.Helper()
	n, err := s.Get("m")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range n.Versions {
		found, err := loadAll(s, "m", fmt.Sprint(e.Version))
		if err == nil {
			err = differs(found, h.versions[e.Version-1])
		}
		if err != nil {
			t.Fatalf("version %d: %v", e.Version, err)
		}
	}
}

var fromLatest = SaveOptions{Base: Latest}

// TestVersionsCostWhatChanged saves steps of training, told from the disk and from memory: each costs what it changed, all come
// back with every bit, and none is more than eight layers away.
func TestVersionsCostWhatChanged(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s, err := Open(t.TempDir(), Options{Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		h := newHistory(1_500_000, 3_000, 600_000)
		first := mustSave(t, s, "m", h.versions[0], fromLatest)
		total, most := first.Stored, 0
		for n := 2; n <= 20; n++ {
			e := mustSave(t, s, "m", h.step(8), fromLatest)
			if total += e.Stored; e.Base != uint64(n-1) || n%8 != 1 && e.Stored > first.Bytes/100 {
				t.Errorf("version %d is told from %d and took %d of %d bytes", n, e.Base, e.Stored, first.Bytes)
			}
			v, err := s.Open("m", Latest)
			if err != nil {
				t.Fatal(err)
			}
			for object := range uint32(len(v.m.lengths)) {
				most = max(most, len(v.m.chain(object)))
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if most != starSteps || float64(total) > 1.3*float64(first.Bytes) {
			t.Errorf("at most %d layers, want %d; all versions took %d bytes, one has %d", most, starSteps, total, first.Bytes)
		}
		h.check(t, s)
		if report, err := s.Verify(""); err != nil || !report.Sound || report.Bytes > total {
			t.Errorf("%+v, %v", report, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnchors has a tensor be an anchor anew: after 64 versions, where its star is too large, where its layers are, and where it
// changed too much.
func TestAnchors(t *testing.T) {
	for name, test := range map[string]struct{ share, steps, raw int }{
		"old":          {2, 66, 2},
		"far":          {125, 10, 2},
		"much to read": {400, 8, 2},
		"other":        {900, 3, 4},
	} {
		s := opened(t, t.TempDir(), nil)
		h := newHistory(300_000)
		h.drift = name == "far"
		mustSave(t, s, "m", h.versions[0], fromLatest)
		raw := 1
		for range test.steps {
			if e := mustSave(t, s, "m", h.step(test.share), fromLatest); e.Stored > 500_000 {
				raw++
			}
		}
		if raw != test.raw {
			t.Errorf("%s: stored as it is %d times, want %d", name, raw, test.raw)
		}
		h.check(t, s)
	}
}

// TestBase tells versions from others than the newest, and from none.
func TestBase(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	h := newHistory(100_000)
	mustSave(t, s, "m", h.versions[0], SaveOptions{Tags: []string{"start"}})
	mustSave(t, s, "m", h.step(900), fromLatest)
	h.versions = append(h.versions, h.versions[0])
	h.step(5)
	h.versions = append(h.versions[:2], h.versions[3:]...)
	if e := mustSave(t, s, "m", h.versions[2], SaveOptions{Base: "start"}); e.Base != 1 || e.Stored > 20_000 {
		t.Errorf("%+v", e)
	}
	h.step(5)
	if e := mustSave(t, s, "m", h.versions[3], SaveOptions{}); e.Base != 0 || e.Stored < 200_000 {
		t.Errorf("%+v", e)
	}
	if _, err := s.Save("m", nil, SaveOptions{Base: "none"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	h.check(t, s)
}

// TestCollectKeepsChains deletes versions that others are told from: those stay whole.
func TestCollectKeepsChains(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	h := newHistory(200_000)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	for n := uint64(2); n < 14; n++ {
		mustSave(t, s, "m", h.step(10), fromLatest)
		if err := s.Delete("m", []uint64{n - 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Collect(); err != nil {
			t.Fatal(err)
		}
		h.check(t, s)
	}
	// Of 13 versions the last needs the anchor, the star of the ninth, and the steps since.
	if got := len(filesIn(t, s, packs)); got != 6 {
		t.Errorf("%d packs are left", got)
	}
	if report, err := s.Verify(""); err != nil || !report.Sound {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestPartsOfCodedTensors reads parts, some of them twice in one call.
func TestPartsOfCodedTensors(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	h := newHistory(1_300_000, 5_000)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	for range 3 {
		mustSave(t, s, "m", h.step(20), fromLatest)
	}
	v, err := s.Open("m", Latest)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	tensors := h.versions[3]
	for i := range 300 {
		var wants []Want
		for range 1 + h.rng.IntN(4) {
			tensor := h.rng.IntN(len(tensors))
			from := h.rng.IntN(len(tensors[tensor].Data) + 1)
			n := h.rng.IntN(len(tensors[tensor].Data) - from + 1)
			wants = append(wants, Want{Tensor: tensor, Offset: int64(from), Into: make([]byte, n)}, Want{Tensor: tensor, Offset: int64(from), Into: make([]byte, n/2)})
		}
		if i%3 == 0 {
			dropCache(t, s)
		}
		if err := v.Load(wants, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		for _, w := range wants {
			if !bytes.Equal(w.Into, tensors[w.Tensor].Data[w.Offset:][:len(w.Into)]) {
				t.Fatalf("%d bytes from %d of %q are others", len(w.Into), w.Offset, tensors[w.Tensor].Name)
			}
		}
	}
}

// TestFlipsOfLayers changes single bits of packs and manifests with layers: a load fails with the place, or returns what was saved.
func TestFlipsOfLayers(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	h := newHistory(40_000, 2_500)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	for range 9 {
		mustSave(t, s, "m", h.step(30), fromLatest)
	}
	files, err := filepath.Glob(filepath.Join(dir, "packs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(dir, "manifests", "*"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, more...)
	noticed, rounds := 0, 400
	for range rounds {
		path := files[h.rng.IntN(len(files))]
		was := flip(t, path, h.rng)
		told := false
		for n, tensors := range h.versions {
			found, err := loadAll(opened(t, dir, nil), "m", fmt.Sprint(n+1))
			switch {
			case errors.Is(err, engine.ErrCorrupt):
				if told = true; !strings.Contains(err.Error(), filepath.Base(path)) {
					t.Fatalf("%q does not name %s", err, path)
				}
			case err != nil:
				t.Fatal(err)
			default:
				if err := differs(found, tensors); err != nil {
					t.Fatalf("%s: version %d: %v", path, n+1, err)
				}
			}
		}
		report, err := s.Verify("")
		if err != nil {
			t.Fatal(err)
		}
		if told {
			noticed++
		}
		if told && report.Sound {
			t.Fatalf("%s was changed and no fault is told", path)
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if noticed < rounds/4 {
		t.Errorf("%d of %d changes were noticed", noticed, rounds)
	}
}

// TestDamagedBase has a save tell nothing from a version that is damaged.
func TestDamagedBase(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	h := newHistory(200_000)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	path := s.path(packs, filesIn(t, s, packs)[0])
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[pack.PageBytes+pack.Phase+300_000] ^= 4
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := mustSave(t, s, "m", h.step(5), fromLatest); e.Stored < 400_000 {
		t.Errorf("%d bytes stored over a damaged base", e.Stored)
	}
	found, err := loadAll(s, "m", "2")
	if err == nil {
		err = differs(found, h.versions[1])
	}
	if err != nil {
		t.Error(err)
	}
}
