package params

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/params/pack"
)

// pull brings a copy of one version in memory to another.
func (h *history) pull(t *testing.T, s *Store, memory [][]byte, from, to int, verify bool) (*Pulled, error) {
	t.Helper()
	a, err := s.Open("m", fmt.Sprint(from))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := s.Open("m", fmt.Sprint(to))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var wants []Want
	for i, info := range b.Tensors() {
		if int64(len(memory[i])) != info.Bytes { // as a number of steps with more digits
			memory[i] = make([]byte, info.Bytes)
		}
		wants = append(wants, Want{Tensor: i, Into: memory[i]})
	}
	return b.Pull(a, wants, verify)
}

// memory is a copy of a version.
func (h *history) memory(version int) [][]byte {
	var all [][]byte
	for _, tensor := range h.versions[version-1] {
		all = append(all, bytes.Clone(tensor.Data))
	}
	return all
}

func (h *history) holds(t *testing.T, memory [][]byte, version int) {
	t.Helper()
	for i, tensor := range h.versions[version-1] {
		if !bytes.Equal(memory[i], tensor.Data) {
			t.Fatalf("tensor %q is not that of version %d", tensor.Name, version)
		}
	}
}

func trainedStore(t *testing.T, versions, share int) (*Store, *history) {
	t.Helper()
	s := opened(t, t.TempDir(), nil)
	h := newHistory(1_200_000, 4_000)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	for len(h.versions) < versions {
		mustSave(t, s, "m", h.step(share), fromLatest)
	}
	return s, h
}

// TestPull follows versions one by one, across stars, and several at once; what cannot be told is loaded.
func TestPull(t *testing.T) {
	s, h := trainedStore(t, 19, 8)
	for _, verify := range []bool{true, false} {
		memory := h.memory(1)
		for to := 2; to <= 19; to++ {
			p, err := h.pull(t, s, memory, to-1, to, verify)
			if err != nil {
				t.Fatal(err)
			}
			if h.holds(t, memory, to); p.Told != 2 || p.Same != 1 || p.Read > 30_000 {
				t.Errorf("from %d to %d: %+v", to-1, to, p)
			}
		}
		for _, step := range []struct{ from, to, told int }{{1, 4, 2}, {5, 12, 2}, {1, 9, 2}, {7, 19, 2}, {9, 3, 0}, {4, 4, 0}} {
			memory := h.memory(step.from)
			p, err := h.pull(t, s, memory, step.from, step.to, verify)
			if err != nil {
				t.Fatal(err)
			}
			if h.holds(t, memory, step.to); p.Told != step.told {
				t.Errorf("from %d to %d: %+v", step.from, step.to, p)
			}
		}
	}
	if err := s.Delete("m", []uint64{11}); err != nil {
		t.Fatal(err)
	}
	memory := h.memory(10) // the layer from 10 to 11 is one of those of version 12
	if p, err := h.pull(t, s, memory, 10, 12, true); err != nil || p.Told != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	h.holds(t, memory, 12)
}

// TestPullAgain has memory be of another version than is said, in part: what is there already is left alone, and what is of
// neither is refused.
func TestPullAgain(t *testing.T) {
	s, h := trainedStore(t, 5, 8)
	memory := h.memory(2)
	later := h.memory(5)
	copy(memory[2][1<<20-pack.Phase:2<<20-pack.Phase], later[2][1<<20-pack.Phase:]) // the second block
	memory[3] = h.memory(4)[3]
	for range 2 {
		if _, err := h.pull(t, s, memory, 2, 5, true); err != nil {
			t.Fatal(err)
		}
		h.holds(t, memory, 5)
	}
	memory = h.memory(2)
	memory[2][1_500_000] ^= 1
	_, err := h.pull(t, s, memory, 2, 5, true)
	if !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	wantContains(t, err, `tensor "w0"`, "block 1")
	frozen := h.memory(2)
	frozen[0][5] ^= 1
	if _, err := h.pull(t, s, frozen, 2, 5, true); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

// TestPullOfDamage damages a layer: the pull says so, and can be done again when that is undone.
func TestPullOfDamage(t *testing.T) {
	s, h := trainedStore(t, 3, 8)
	v, err := s.Open("m", "3")
	if err != nil {
		t.Fatal(err)
	}
	i, _ := v.m.find("w0")
	all := v.m.layersOf(v.m.objectOf[i])
	path, at := s.packPath(v.m.packs[all[1].pack]), all[1].offset+all[1].length-3
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(content)
	changed[at] ^= 1
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	memory := h.memory(2)
	_, err = h.pull(t, s, memory, 2, 3, true)
	if !errors.Is(err, engine.ErrCorrupt) {
		t.Fatal(err)
	}
	wantContains(t, err, `tensor "w0"`, path)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.pull(t, s, memory, 2, 3, true); err != nil {
		t.Fatal(err)
	}
	h.holds(t, memory, 3)
}
