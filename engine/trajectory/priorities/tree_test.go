package priorities

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is the weights of a tree, which it is held against.
func holds(t *testing.T, tree *Tree, model []float32) {
	t.Helper()
	sum, least := 0.0, float32(math.Inf(1))
	for _, w := range model {
		sum += float64(w)
		if w > 0 {
			least = min(least, w)
		}
	}
	if tree.Len() != int64(len(model)) || math.Abs(tree.Sum()-sum) > 1e-9*sum || tree.Least() != least {
		t.Fatalf("%d weights with the sum %g and the least %g, want %d, %g, %g", tree.Len(), tree.Sum(), tree.Least(), len(model), sum, least)
	}
	before := 0.0
	for i, w := range model {
		if w > 0 {
			for _, u := range []float64{before + float64(w)*0.01, before + float64(w)*0.99} {
				if got := tree.Find(u); got != int64(i) {
					t.Fatalf("of %d weights, %g is in the %d-th, want the %d-th", len(model), u, got, i)
				}
			}
		}
		before += float64(w)
	}
	us := make([]float64, len(model))
	found, one := make([]int64, len(model)), make([]int64, len(model))
	for i := range us {
		us[i] = sum * (float64(i) + 0.5) / float64(len(us))
		if sum > 0 {
			one[i] = tree.Find(us[i])
		}
	}
	if sum > 0 {
		if tree.FindAll(us, found); !slices.Equal(found, one) {
			t.Fatalf("of %d weights, all at once are %v, and one by one %v", len(model), found, one)
		}
	}
	if sum > 0 {
		if got := tree.Find(sum); tree.At(got) == 0 { // as rounding may have it
			t.Fatalf("%g is in the %d-th, which is zero", sum, got)
		}
	}
}

func TestATree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var tree Tree
	var model []float32
	holds(t, &tree, model)
	for n := range 700 {
		w := float32(random.IntN(5)) / 4
		tree.Add(w)
		model = append(model, w)
		for range 2 {
			i, w := random.IntN(len(model)), float32(random.IntN(9))/8
			tree.Set(int64(i), w)
			model[i] = w
		}
		if n < 40 || n%37 == 0 || n > 690 {
			holds(t, &tree, model)
		}
	}
	for i := range model {
		tree.Set(int64(i), 0)
		model[i] = 0
	}
	holds(t, &tree, model)
}

func TestPrioritiesAreKept(t *testing.T) {
	p := new(Priorities)
	if p.At(3) != 1 {
		t.Error(p.At(3))
	}
	record := Record([]int64{5, 2}, []float32{0.5, 0})
	if err := p.Replay(record); err != nil {
		t.Fatal(err)
	}
	p.Set(9, 7)
	for range 2 {
		if got := []float32{p.At(2), p.At(5), p.At(9), p.At(4), p.At(1000)}; !slices.Equal(got, []float32{0, 0.5, 7, 7, 7}) {
			t.Errorf("%v", got)
		}
		snapshot := p.Snapshot()
		p = new(Priorities)
		if err := p.Restore(snapshot); err != nil {
			t.Fatal(err)
		}
	}
	if p.Cut(10) || !p.Cut(9) || p.Cut(9) || p.At(9) != 0.5 {
		t.Error(p.At(9))
	}
	for name, err := range map[string]error{
		"short":    p.Replay(record[:3]),
		"cut":      p.Replay(record[:len(record)-1]),
		"negative": p.Replay(Record([]int64{-1}, []float32{1})),
		"snapshot": p.Restore(make([]byte, 5)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestChangesAreKnownOneByOne(t *testing.T) {
	p := new(Priorities)
	for row := range int64(10) {
		p.Set(row, 1)
	}
	var rows []int64
	if !p.Since(7, func(row int64) { rows = append(rows, row) }) || !slices.Equal(rows, []int64{7, 8, 9}) {
		t.Error(rows)
	}
	for range recent - 2 {
		p.Set(3, 1)
	}
	if p.Since(7, func(int64) {}) || !p.Since(8, func(int64) {}) || p.Changes() != recent+8 {
		t.Error(p.Changes())
	}
}

func TestManyAreDivided(t *testing.T) {
	for _, count := range []int64{0, 1, leastDivided, 5*leastDivided + 3} {
		seen := make([]int32, count)
		Divide(count, func(from, end int64) {
			for i := from; i < end; i++ {
				seen[i]++
			}
		})
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("of %d, the %d-th was done %d times", count, i, times)
			}
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	model := make([]float32, 3*fan*leastDivided+7)
	for i := range model {
		model[i] = random.Float32()
	}
	var whole, pieces Tree
	whole.Add(model...)
	pieces.Add(model[:1000]...)
	pieces.Add(model[1000:]...)
	if whole.Sum() != pieces.Sum() || whole.Least() != pieces.Least() || whole.Least() != slices.Min(model) {
		t.Errorf("%g and %g, %g and %g", whole.Sum(), pieces.Sum(), whole.Least(), pieces.Least())
	}
}
