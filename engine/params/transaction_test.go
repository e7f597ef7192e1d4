package params

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// rows are a part of "w", a matrix of bytes with rows of 1,000.
func rows(whole []byte, from, to int) Piece {
	return Piece{
		Tensor: Tensor{Name: "w", DType: "U8", Shape: []int64{int64(to - from), 1000}, Data: whole[1000*from : 1000*to]},
		Whole:  []int64{int64(len(whole) / 1000), 1000}, Offsets: []int64{int64(from), 0},
	}
}

func alone(name string, data []byte) Piece { return Piece{Tensor: tensorOf(name, data)} }

func mustBegin(t testing.TB, s *Store, ranks int) string {
	t.Helper()
	id, err := s.Begin("m", ranks, Latest)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustPart(t testing.TB, s *Store, id string, rank int, pieces ...Piece) {
	t.Helper()
	if err := s.Part(id, rank, pieces); err != nil {
		t.Fatal(err)
	}
}

// matrix has 200 rows, so that its parts have blocks of their own.
func matrix(seed uint64) []byte { return noise(rand.New(rand.NewPCG(seed, 3)), 200_000) }

func TestManyRanksMakeOneVersion(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	w, b := matrix(1), []byte("bias")
	id := mustBegin(t, s, 3)
	others := opened(t, dir, nil) // ranks are other processes
	mustPart(t, others, id, 2, rows(w, 120, 200))
	mustPart(t, others, id, 0, rows(w, 0, 100), alone("b", b))
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Fatalf("seen before it is committed: %v, %v", all, err)
	}
	_, err := s.Commit(id, SaveOptions{})
	if !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	wantContains(t, err, `"m"`, "of 3 ranks", ": 1")
	mustPart(t, others, id, 1, rows(w, 100, 120))
	if err := others.Part(id, 1, nil); !errors.Is(err, ErrConflict) {
		t.Fatalf("a second part of a rank: %v", err)
	}
	none := uint64(0)
	e, err := s.Commit(id, SaveOptions{Tags: []string{"step"}, Expect: &none})
	if err != nil {
		t.Fatal(err)
	}
	if e.Version != 1 || e.Tensors != 2 || e.Bytes != 200_004 || e.Stored < 200_004 {
		t.Fatalf("%+v", e)
	}
	found, err := loadAll(s, "m", "step")
	if err != nil {
		t.Fatal(err)
	}
	part := func(from int) []byte { return found[fmt.Sprintf("%s200x1000:%dx0:w", boxMark, from)] }
	if got := bytes.Join([][]byte{part(0), part(100), part(120)}, nil); !bytes.Equal(got, w) || string(found["b"]) != "bias" {
		t.Fatalf("%d bytes came back as others", len(got))
	}
	if left := staged(t, s); len(left) > 0 {
		t.Fatalf("%v is left", left)
	}
	for _, do := range []func() error{
		func() error { _, err := s.Commit(id, SaveOptions{}); return err },
		func() error { return s.Part(id, 0, nil) },
		func() error { return s.Abort(id) },
	} {
		if err := do(); !errors.Is(err, ErrNotFound) {
			t.Fatalf("after the commit: %v", err)
		}
	}
	if report, err := s.Verify(""); err != nil || !report.Sound {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestPartsThatDoNotFit(t *testing.T) {
	w := matrix(1)
	for name, c := range map[string]struct {
		parts [2][]Piece
		says  []string
	}{
		"overlap":  {[2][]Piece{{rows(w, 0, 101)}, {rows(w, 100, 200)}}, []string{`"w"`, "rank 0 has [0:101, 0:1000]", "rank 1"}},
		"hole":     {[2][]Piece{{rows(w, 0, 99)}, {rows(w, 100, 200)}}, []string{`"w"`, "[99 0]"}},
		"the same": {[2][]Piece{{alone("w", w)}, {alone("w", w)}}, []string{"rank 0", "rank 1", "once"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, t.TempDir(), nil)
			id := mustBegin(t, s, 2)
			mustPart(t, s, id, 0, c.parts[0]...)
			mustPart(t, s, id, 1, c.parts[1]...)
			_, err := s.Commit(id, SaveOptions{})
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			wantContains(t, err, c.says...)
			if err := s.Abort(id); err != nil {
				t.Fatal(err)
			}
			if left := append(staged(t, s), filesIn(t, s, leases)...); len(left) > 0 {
				t.Fatalf("%v is left", left)
			}
		})
	}
}

func TestPiecesThatAreNone(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	id := mustBegin(t, s, 1)
	piece := func(whole, offsets, sizes []int64) Piece {
		return Piece{Tensor: Tensor{Name: "w", DType: "U8", Shape: sizes, Data: make([]byte, volume(sizes))}, Whole: whole, Offsets: offsets}
	}
	for says, p := range map[string]Piece{
		"not within shape [4]":      piece([]int64{4}, []int64{2}, []int64{3}),
		"not within shape [5]":      piece([]int64{5}, []int64{-1}, []int64{3}),
		"in none with shape [4 4]":  piece([]int64{4, 4}, []int64{0}, []int64{4}),
		"there is no shape [3 9223": piece([]int64{3, 1 << 62}, []int64{0, 0}, []int64{1, 1}),
		"that of a box":             {Tensor: tensorOf(boxMark+"4:0:w", []byte("1234"))},
	} {
		if says == "there is no shape [3 9223" {
			says = "there is no shape [3 4611686018427387904]"
		}
		err := s.Part(id, 0, []Piece{p})
		if !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		wantContains(t, err, `"w"`[:1], says)
	}
	if _, err := s.Begin("m", 0, ""); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if err := s.Part(id, 1, nil); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if err := s.Part("x", 0, nil); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

// TestEmptyParts has ranks that hold nothing of a tensor, as there are when it has fewer rows than there are ranks.
func TestEmptyParts(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	w := matrix(1)
	id := mustBegin(t, s, 3)
	nothing := Piece{Tensor: Tensor{Name: "n", DType: "U8", Shape: []int64{0, 5}}}
	mustPart(t, s, id, 0, rows(w, 0, 200), nothing)
	mustPart(t, s, id, 1, rows(w, 200, 200), nothing)
	mustPart(t, s, id, 2)
	if _, err := s.Commit(id, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	found, err := loadAll(s, "m", Latest)
	if err != nil || len(found) != 2 || !bytes.Equal(found["w"], w) {
		t.Fatalf("%d tensors, %v", len(found), err)
	}
}

// TestCollectorAndTransactions: what a living transaction has, and what it shares, stays; that of a dead one goes.
func TestCollectorAndTransactions(t *testing.T) {
	dir := t.TempDir()
	s, coordinator := opened(t, dir, nil), opened(t, dir, nil)
	old, w := matrix(9), matrix(1)
	mustSave(t, s, "old", []Tensor{tensorOf("t", old)}, SaveOptions{})
	id := mustBegin(t, coordinator, 2)
	mustPart(t, s, id, 0, rows(w, 0, 150), alone("frozen", old))
	if err := s.Delete("old", nil); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Collect(); err != nil || *c != (Collected{Manifests: 1, Bytes: c.Bytes}) {
		t.Fatalf("%+v, %v", c, err)
	}
	mustPart(t, s, id, 1, rows(w, 150, 200))
	if _, err := s.Commit(id, SaveOptions{}); err != nil { // by another than the one that began
		t.Fatal(err)
	}
	found, err := loadAll(s, "m", Latest)
	if err != nil || !bytes.Equal(found["frozen"], old) {
		t.Fatal(err)
	}

	dead := mustBegin(t, coordinator, 2)
	mustPart(t, s, dead, 0, rows(matrix(5), 0, 150))
	if err := coordinator.Close(); err != nil { // as the kernel does when it dies
		t.Fatal(err)
	}
	if c, err := s.Collect(); err != nil || c.Staged != 3 || c.Packs != 0 || c.Manifests != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := s.Part(dead, 1, nil); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := loadAll(s, "m", Latest); err != nil {
		t.Fatal(err)
	}
}

func TestCommitOfAnotherVersionThanExpected(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	w := matrix(1)
	id := mustBegin(t, s, 1)
	mustPart(t, s, id, 0, alone("w", w))
	mustSave(t, s, "m", model(1), SaveOptions{})
	none := uint64(0)
	if _, err := s.Commit(id, SaveOptions{Expect: &none}); !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	one := uint64(1)
	if e, err := s.Commit(id, SaveOptions{Expect: &one}); err != nil || e.Version != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	if found, err := loadAll(s, "m", "2"); err != nil || !bytes.Equal(found["w"], w) {
		t.Fatal(err)
	}
}

// TestEachFaultOfATransaction fails each operation of a version of two ranks once: what was published stays whole, and once
// the store is closed nothing is left of what was not.
func TestEachFaultOfATransaction(t *testing.T) {
	w := matrix(1)
	for n := int64(1); ; n++ {
		nth := &faultfs.Nth{Err: syscall.ENOSPC}
		dir := t.TempDir()
		s := opened(t, dir, &faultfs.Hook{FS: vfs.OS, Before: nth.Before, Short: true})
		mustSave(t, s, "m", model(1), SaveOptions{})
		before := nth.Count()
		nth.N = before + n
		id, err := s.Begin("m", 2, Latest)
		pieces := []Piece{{Tensor: model(2)[4]}} // told from that of the version before
		for rank := 0; rank < 2 && err == nil; rank++ {
			pieces = append(pieces, rows(w, 100*rank, 100*rank+100))
			err = s.Part(id, rank, pieces)
			pieces = nil
		}
		var e *Entry
		if err == nil {
			e, err = s.Commit(id, SaveOptions{})
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("operation %d: %v", n, err)
		}
		done := nth.Count() < before+n
		nth.N = 0
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkAfterTransaction(t, opened(t, dir, nil), n, e != nil, err)
		if done {
			return
		}
	}
}

func checkAfterTransaction(t *testing.T, s *Store, n int64, committed bool, failed error) {
	t.Helper()
	if _, err := s.Collect(); err != nil {
		t.Fatalf("operation %d (%v): %v", n, failed, err)
	}
	if left := append(staged(t, s), filesIn(t, s, leases)...); len(left) > 0 {
		t.Fatalf("operation %d (%v): %v is left", n, failed, left)
	}
	names, err := s.Get("m")
	if err != nil || committed && names.Latest != 2 {
		t.Fatalf("operation %d (%v): %+v, %v", n, failed, names, err)
	}
	want := 1
	if names.Latest == 2 {
		want = 3
	}
	if got := len(filesIn(t, s, packs)); got != want {
		t.Fatalf("operation %d (%v): %d packs, want %d", n, failed, got, want)
	}
	report, err := s.Verify("")
	if err != nil || !report.Sound || report.Versions != len(names.Versions) {
		t.Fatalf("operation %d (%v): %+v, %v", n, failed, report, err)
	}
	if found, err := loadAll(s, "m", "1"); err != nil || differs(found, model(1)) != nil {
		t.Fatalf("operation %d (%v): %v", n, failed, err)
	}
	if strings.Contains(fmt.Sprint(failed), "corrupt") {
		t.Fatalf("operation %d: a full disk is told as damage: %v", n, failed)
	}
}

// TestCommitTwiceAtOnce has several commit the same transaction: there is one version of it.
func TestCommitTwiceAtOnce(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		s := opened(t, dir, nil)
		w := matrix(1)
		id := mustBegin(t, s, 1)
		mustPart(t, s, id, 0, alone("w", w))
		failures := make(chan error)
		for range 4 {
			go func() {
				_, err := opened(t, dir, nil).Commit(id, SaveOptions{})
				failures <- err
			}()
		}
		committed := 0
		for range 4 {
			switch err := <-failures; {
			case err == nil:
				committed++
			case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrConflict):
				t.Fatal(err)
			}
		}
		if names, err := s.Get("m"); err != nil || committed != 1 || len(names.Versions) != 1 {
			t.Fatalf("%d commits, %+v, %v", committed, names, err)
		}
		if found, err := loadAll(s, "m", "1"); err != nil || !bytes.Equal(found["w"], w) {
			t.Fatal(err)
		}
	}
}
