package params

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// sharded is a matrix of bf16 in training, with rows of 500, which ranks have in parts.
type sharded struct {
	rng  *rand.Rand
	data []byte
}

const shardedRow = 1000 // bytes

func newSharded(rows int) *sharded {
	rng := rand.New(rand.NewPCG(31, 32))
	return &sharded{rng, floats(rng, rows*shardedRow/2)}
}

func (m *sharded) step() { m.data = trained(m.rng, m.data, 8, false) }

func (m *sharded) rows() int { return len(m.data) / shardedRow }

// part is what a rank has of it, if each has as many rows.
func (m *sharded) part(rank, ranks int) Piece {
	each := m.rows() / ranks
	from, to := rank*each, (rank+1)*each
	return Piece{
		Tensor: Tensor{Name: "w", DType: "BF16", Shape: []int64{int64(each), shardedRow / 2}, Data: m.data[from*shardedRow : to*shardedRow]},
		Whole:  []int64{int64(m.rows()), shardedRow / 2}, Offsets: []int64{int64(from), 0},
	}
}

// whole is all of it in one.
func (m *sharded) whole() Tensor {
	return Tensor{Name: "w", DType: "BF16", Shape: []int64{int64(m.rows()), shardedRow / 2}, Data: m.data}
}

// save has ranks make a version of it, and of a tensor that rank 0 has alone.
func (m *sharded) save(t *testing.T, s *Store, ranks int, alone Tensor) *Entry {
	t.Helper()
	id := mustBegin(t, s, ranks)
	for rank := range ranks {
		pieces := []Piece{m.part(rank, ranks)}
		if rank == 0 {
			pieces = append(pieces, Piece{Tensor: alone})
		}
		mustPart(t, s, id, rank, pieces...)
	}
	e, err := s.Commit(id, SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// held is the matrix as a version has it.
func (m *sharded) held(t *testing.T, s *Store, version, ranks int) []byte {
	t.Helper()
	found, err := loadAll(s, "m", fmt.Sprint(version))
	if err != nil {
		t.Fatal(err)
	}
	if ranks == 0 {
		return found["w"]
	}
	var all []byte
	for rank := range ranks {
		p := m.part(rank, ranks)
		named := p.named()
		all = append(all, found[named.Name]...)
	}
	return all
}

func mustVerify(t *testing.T, s *Store) {
	t.Helper()
	if report, err := s.Verify(""); err != nil || !report.Sound {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestRanksCostWhatChanged has two ranks publish steps of training: each costs what it changed, stars and anchors are made as of
// one rank, and every version comes back, whatever was deleted.
func TestRanksCostWhatChanged(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	m := newSharded(400)
	held := [][]byte{m.data}
	first := m.save(t, s, 2, tensorOf("step", []byte("1")))
	for n := 2; n <= 18; n++ {
		m.step()
		held = append(held, m.data)
		e := m.save(t, s, 2, tensorOf("step", []byte(fmt.Sprint(n))))
		if e.Base != uint64(n-1) || n%8 != 1 && e.Stored > first.Stored/10 {
			t.Errorf("version %d is told from %d and took %d bytes, the first one %d", n, e.Base, e.Stored, first.Stored)
		}
	}
	if err := s.Delete("m", []uint64{1, 2, 3, 8, 9, 12}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{4, 10, 11, 16, 17, 18} {
		if !bytes.Equal(m.held(t, s, version, 2), held[version-1]) {
			t.Fatalf("version %d came back as another", version)
		}
	}
	mustVerify(t, s)
}

// TestCutsOfRanks has a tensor be cut in other ways from version to version: it is told where it is cut as in the base, and
// stored as it is elsewhere. One that is whole in both is told, whoever saves it.
func TestCutsOfRanks(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	m := newSharded(600)
	other := floats(m.rng, 50_000)
	size := int64(len(m.data))
	for i, test := range []struct {
		ranks int // 0 for a save of one
		told  bool
	}{{0, false}, {2, false}, {2, true}, {3, false}, {0, false}, {0, true}, {3, false}, {3, true}, {2, false}} {
		var e *Entry
		if test.ranks == 0 {
			e = mustSave(t, s, "m", []Tensor{m.whole(), bf16("b", other)}, fromLatest)
		} else {
			e = m.save(t, s, test.ranks, bf16("b", other))
		}
		if told := e.Stored < size/2; told != test.told {
			t.Errorf("version %d, of %d ranks, took %d bytes of %d", e.Version, test.ranks, e.Stored, size)
		}
		if i > 0 && e.Stored > size+int64(len(other))/2 {
			t.Errorf("version %d took %d bytes: the tensor that nobody cuts is stored as a whole", e.Version, e.Stored)
		}
		if !bytes.Equal(m.held(t, s, i+1, test.ranks), m.data) {
			t.Fatalf("version %d came back as another", e.Version)
		}
		m.step()
		other = trained(m.rng, other, 8, false)
	}
	mustVerify(t, s)
}

// TestBaseOfRanks deletes the base of a transaction: before a rank comes it is told from nothing, after that nothing is lost.
func TestBaseOfRanks(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := opened(t, t.TempDir(), nil)
		m := newSharded(400)
		first := m.save(t, s, 2, tensorOf("step", []byte("1")))
		base := m.data
		m.step()
		id := mustBegin(t, s, 2)
		mustSave(t, s, "m", []Tensor{tensorOf("step", []byte("2"))}, SaveOptions{})
		remove := func() {
			if err := s.Delete("m", []uint64{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Collect(); err != nil {
				t.Fatal(err)
			}
		}
		mustPart(t, s, id, 0, m.part(0, 2))
		if !late {
			remove()
		}
		mustPart(t, s, id, 1, m.part(1, 2))
		if late {
			remove()
		}
		e, err := s.Commit(id, SaveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if whole := e.Stored > first.Stored/3; whole == late {
			t.Errorf("late %v: %d bytes, the first version has %d", late, e.Stored, first.Stored)
		}
		if !bytes.Equal(m.held(t, s, 3, 2), m.data) || bytes.Equal(base, m.data) {
			t.Fatal("another matrix came back")
		}
		mustVerify(t, s)
	}
	s := opened(t, t.TempDir(), nil)
	for base, want := range map[string]error{"tag": ErrNotFound, "7": ErrNotFound, Latest: nil, "": nil} {
		if _, err := s.Begin("m", 1, base); !errors.Is(err, want) {
			t.Errorf("base %q: %v", base, err)
		}
	}
}

// TestPullOfRanks follows versions of ranks: boxes that are cut as before are told, others are loaded.
func TestPullOfRanks(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	m := newSharded(600)
	var last []byte
	for i, test := range []struct{ ranks, told, loaded int }{{2, 0, 0}, {2, 2, 0}, {3, 0, 3}, {3, 3, 0}, {0, 0, 1}, {0, 1, 0}} {
		if test.ranks == 0 {
			mustSave(t, s, "m", []Tensor{m.whole()}, fromLatest)
		} else {
			id := mustBegin(t, s, test.ranks)
			for rank := range test.ranks {
				mustPart(t, s, id, rank, m.part(rank, test.ranks))
			}
			if _, err := s.Commit(id, SaveOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			memory := bytes.Clone(last)
			p := m.pull(t, s, memory, i, i+1, max(test.ranks, 1))
			if !bytes.Equal(memory, m.data) || p.Told != test.told || p.Loaded != test.loaded {
				t.Fatalf("version %d: %+v, want %+v", i+1, p, test)
			}
		}
		last = m.data
		m.step()
	}
}

// pull brings the matrix in memory to a version, each of its boxes where it lies.
func (m *sharded) pull(t *testing.T, s *Store, memory []byte, from, to, parts int) *Pulled {
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
	each := len(memory) / parts
	for part := range parts {
		wants = append(wants, Want{Tensor: part, Into: memory[part*each : (part+1)*each]})
	}
	p, err := b.Pull(a, wants, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
