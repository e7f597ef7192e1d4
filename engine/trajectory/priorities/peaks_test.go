package priorities

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// walked are the places that a walk gives, at most so many.
func walked(p *Peaks, most int) (places []int64) {
	p.Walk(func(i int64) bool {
		places = append(places, i)
		return len(places) < most
	})
	return places
}

// inOrder are the places that a walk should give.
func inOrder(model []float32) (places []int64) {
	for i, number := range model {
		if !math.IsInf(float64(number), -1) {
			places = append(places, int64(i))
		}
	}
	slices.SortStableFunc(places, func(a, b int64) int {
		switch {
		case model[a] > model[b]:
			return -1
		case model[a] < model[b]:
			return 1
		}
		return 0
	})
	return places
}

func TestPeaksAreFoundInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var p Peaks
	var model []float32
	some := func() float32 {
		if random.IntN(6) == 0 {
			return float32(math.Inf(-1))
		}
		return float32(random.IntN(7)) - 3 // many are the same
	}
	if got := walked(&p, 1); p.Len() != 0 || got != nil {
		t.Fatal(p.Len(), got)
	}
	for round := range 400 {
		more := make([]float32, 1+random.IntN(1+round/20))
		for i := range more {
			more[i] = some()
		}
		p.Add(more...)
		model = append(model, more...)
		for range 3 {
			i, number := random.IntN(len(model)), some()
			p.Set(int64(i), number)
			model[i] = number
		}
		want := inOrder(model)
		if got := walked(&p, math.MaxInt); !slices.Equal(got, want) {
			t.Fatalf("of %d numbers: %v, want %v", len(model), got, want)
		}
		if few := min(len(want), 5); few > 0 && !slices.Equal(walked(&p, few), want[:few]) {
			t.Fatalf("the first of %d numbers are %v", len(model), walked(&p, few))
		}
	}
	if p.Clear(); p.Len() != 0 {
		t.Error(p.Len())
	}
}

// BenchmarkRebuild makes what samplers draw by of ten million numbers.
func BenchmarkRebuild(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	numbers := make([]float32, 10_000_000)
	for i := range numbers {
		numbers[i] = random.Float32()
	}
	b.Run("tree", func(b *testing.B) {
		for b.Loop() {
			var t Tree
			t.Add(numbers...)
		}
	})
	b.Run("peaks", func(b *testing.B) {
		for b.Loop() {
			var p Peaks
			p.Add(numbers...)
		}
	})
}
