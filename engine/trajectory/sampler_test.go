package trajectory

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
)

func TestAShuffleHasEachOnce(t *testing.T) {
	for _, bound := range []int64{1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097} {
		first := newShuffle(1, 0, bound)
		other := newShuffle(1, 1, bound)
		seen, same := make([]bool, bound), int64(0)
		for i := range bound {
			n := first.at(i)
			if n < 0 || n >= bound || seen[n] {
				t.Fatalf("of %d, the %d-th is %d", bound, i, n)
			}
			seen[n] = true
			if n == other.at(i) {
				same++
			}
		}
		if bound > 100 && same > bound/10 {
			t.Errorf("of %d, %d are in the same place of the next epoch", bound, same)
		}
	}
}

// drawAll returns the observations of all steps in their order.
func drawAll(t *testing.T, s *Store) []float64 {
	t.Helper()
	p, err := s.Sampler(Law{Order: inOrder, Length: 1, Stride: 1, Columns: []string{"obs"}})
	if err != nil {
		t.Fatal(err)
	}
	const most = 100
	out := memory.Allocator.Allocate(8 * 8 * most)
	defer memory.Allocator.Free(out)
	into := make([]int64, p.parts())
	for i := range into {
		into[i] = int64(uintptr(unsafe.Pointer(&out[8*most*i])))
	}
	n, err := p.Sample(most, -1, into)
	if err != nil {
		t.Fatal(err)
	}
	return append([]float64(nil), at[float64](into[0], most)[:n]...)
}

// observed holds what is drawn against the table, and returns it.
func observed(t *testing.T, s *Store) []float64 {
	t.Helper()
	drawn := drawAll(t, s)
	c, err := s.steps.Read(0, s.index.rows, false)
	if err != nil {
		t.Fatal(err)
	}
	var stored []float64
	for {
		rec, err := c.Next()
		if err != nil {
			break
		}
		obs := rec.Column(rec.Schema().FieldIndices("obs")[0]).(*array.Float64)
		stored = append(stored, obs.Float64Values()...)
		rec.Release()
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(drawn) != len(stored) {
		t.Fatalf("%d steps were drawn, %d are stored", len(drawn), len(stored))
	}
	for i, v := range stored {
		if drawn[i] != v {
			t.Fatalf("step %d is drawn as %g, and is %g", i, drawn[i], v)
		}
	}
	return drawn
}

func TestStepsThatWereLostAreNotDrawn(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 3, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	back := lose(t, dir, stepsDir)
	s = openStore(t, dir)
	appendSteps(t, s, number, 3, 5, 5)
	if n := len(observed(t, s)); n != 8 {
		t.Fatal(n)
	}
	if err := errors.Join(s.Prioritize([]int64{1, 7}, []float64{5, 9}), s.Close()); err != nil {
		t.Fatal(err)
	}
	back()
	s = openStore(t, dir)
	// Others in their places, while nobody draws.
	if _, err := s.Append(number, 3, someSteps(t, 500, 5), false); err != nil {
		t.Fatal(err)
	}
	ranked := make([]float64, 2)
	for range 2 {
		if err := s.Priorities([]int64{1, 7}, ranked); err != nil || ranked[0] != 5 || ranked[1] != 5 {
			t.Errorf("priorities %v, %v", ranked, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir)
	}
	if drawn := observed(t, s); drawn[3] != 500 {
		t.Error(drawn)
	}
}

func TestAMirrorThatCannotGoOnIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 10, 10)
	observed(t, s)
	if err := s.mirror.Load().Close(); err != nil { // so that nothing can be written to it
		t.Fatal(err)
	}
	appendSteps(t, s, number, 10, 10, 10)
	if n, rows := len(observed(t, s)), s.Stats().HotRows; n != 20 || rows != 0 {
		t.Errorf("%d steps, of which %d are copied", n, rows)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if n, rows := len(observed(t, s)), s.Stats().HotRows; n != 20 || rows != 20 {
		t.Errorf("%d steps, of which %d are copied", n, rows)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sampler(Law{Order: uniformly, Length: 1, Stride: 1}); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
	refused(t, s.Prioritize([]int64{1}, []float64{1}), engine.ErrClosed, "closed")
}

// BenchmarkDraw draws 256 steps of four million in episodes of 100, without what is gathered.
func BenchmarkDraw(b *testing.B) {
	x := newIndex()
	for n := range uint32(40_000) {
		x.begin(&episode{number: n, state: open})
		x.add(x.episodes[n], 100, false)
	}
	x.visible = x.rows
	d, err := newDrawer(&Law{Order: uniformly, Length: 1, Stride: 1, oldest: -1}, new(ranks), x.rows)
	if err != nil {
		b.Fatal(err)
	}
	var out []window
	for name, near := range map[string]func(){"warm": func() { d.warm(x) }, "not warm": nil} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				out, err = d.try(out[:0], 256, 0, x.visible, near, func(row int64, out []window) []window { return d.at(x, row, out) })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPartsHaveEachOnce holds that samplers of the parts of an order draw each step once, though they see other numbers of rows.
func TestPartsHaveEachOnce(t *testing.T) {
	s := openStore(t, t.TempDir())
	number, _ := begin(t, s, "one", 0)
	appendSteps(t, s, number, 0, 100, 100)
	for _, order := range []string{inOrder, shuffled} {
		seen := map[int64]int{}
		rows := int64(100)
		for part := range int64(3) {
			s.mu.Lock()
			s.index.visible = rows - 2 + part // as if steps had come between two openings
			s.mu.Unlock()
			p, err := s.Sampler(Law{Order: order, Length: 1, Stride: 1, Part: part, Parts: 3})
			if err != nil {
				t.Fatal(err)
			}
			p.law.oldest = -1
			s.mu.RLock()
			windows, err := p.drawer.draw(s.index, 100, nil)
			s.mu.RUnlock()
			if err != nil || len(windows) < 20 || len(windows) > 47 {
				t.Errorf("%s: part %d has %d draws, %v", order, part, len(windows), err)
			}
			for _, w := range windows {
				seen[w.first]++
			}
		}
		for offset := range rows {
			if n := seen[offset]; n > 1 || n == 0 && offset < rows-3 {
				t.Errorf("%s: row %d is drawn %d times", order, offset, n)
			}
		}
	}
	for _, l := range []Law{
		{Order: inOrder, Part: 1}, {Order: inOrder, Part: 2, Parts: 2}, {Order: inOrder, Part: -1, Parts: 2}, {Order: uniformly, Parts: 2},
	} {
		l.Length, l.Stride = 1, 1
		_, err := s.Sampler(l)
		refused(t, err, ErrInvalid, "part")
	}
}
