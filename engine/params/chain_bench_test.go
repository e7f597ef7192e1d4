package params

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchTensor is how many values of bf16 a tensor of the benchmarks has, benchTensors how many tensors there are.
const (
	benchTensor  = 9 << 20
	benchTensors = 14
)

// benchHistory is a store with 8 versions, in each of which 0.8 % of the values of a model moved, and the last model.
func benchHistory(b *testing.B) (*Store, []Tensor) {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Keep: true})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	once := floats(rng, benchTensor)
	var model []Tensor
	for i := range benchTensors {
		model = append(model, bf16(fmt.Sprint(i), once))
		model[i].Data = trained(rng, once, 500, false)
	}
	mustSave(b, s, "m", model, fromLatest)
	for range 7 {
		benchStep(rng, model)
		mustSave(b, s, "m", model, fromLatest)
	}
	return s, model
}

// benchStep moves 0.8 % of the values of a model.
func benchStep(rng *rand.Rand, model []Tensor) {
	for i := range model {
		data := model[i].Data
		for range len(data) / 2 / 125 {
			at := 2 * rng.IntN(len(data)/2)
			data[at]++
			if data[at] == 0 {
				data[at+1]++
			}
		}
	}
}

func benchSize(model []Tensor) (total int64) {
	for i := range model {
		total += int64(len(model[i].Data))
	}
	return total
}

// BenchmarkChain loads versions that are in the page cache, pulls a step, and saves one.
func BenchmarkChain(b *testing.B) {
	s, model := benchHistory(b)
	size := benchSize(model)
	var wants []Want
	for i := range model {
		wants = append(wants, Want{Tensor: i, Into: make([]byte, len(model[i].Data))})
	}
	open := func(version int) *Weights {
		v, err := s.Open("m", fmt.Sprint(version))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = v.Close() })
		return v
	}
	for _, version := range []int{1, 2, 8} {
		v := open(version)
		b.Run(fmt.Sprintf("load/%d", version-1), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := v.Load(wants, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	from, to := open(7), open(8)
	for _, verify := range []bool{true, false} {
		b.Run(fmt.Sprintf("pull/%v", verify), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				if err := from.Load(wants, false); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := to.Pull(from, wants, verify); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	b.Run("save", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			benchStep(rng, model)
			b.StartTimer()
			mustSave(b, s, "m", model, fromLatest)
		}
	})
}
