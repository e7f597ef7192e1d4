package params

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// boxIn is a box of a tensor of bytes with the name "t".
func boxIn(rank int, whole, offsets, sizes []int64) box {
	return box{tensor: "t", whole: whole, offsets: offsets, sizes: sizes, dtype: "U8", bits: 8, rank: rank}
}

func TestCover(t *testing.T) {
	four := []int64{4, 6}
	for name, c := range map[string]struct {
		boxes []box
		says  []string
	}{
		"one":     {[]box{boxIn(0, four, []int64{0, 0}, four)}, nil},
		"scalar":  {[]box{boxIn(0, nil, nil, nil)}, nil},
		"rows":    {[]box{boxIn(0, four, []int64{0, 0}, []int64{2, 6}), boxIn(1, four, []int64{2, 0}, []int64{2, 6})}, nil},
		"columns": {[]box{boxIn(0, four, []int64{0, 3}, []int64{4, 3}), boxIn(1, four, []int64{0, 0}, []int64{4, 3})}, nil},
		"corners": {[]box{
			boxIn(0, four, []int64{0, 0}, []int64{1, 6}), boxIn(1, four, []int64{1, 0}, []int64{3, 1}),
			boxIn(2, four, []int64{1, 1}, []int64{3, 5}),
		}, nil},
		"nothing twice": {[]box{boxIn(0, []int64{0, 6}, []int64{0, 0}, []int64{0, 6}), boxIn(1, []int64{0, 6}, []int64{0, 0}, []int64{0, 6})}, nil},
		"scalar twice":  {[]box{boxIn(0, nil, nil, nil), boxIn(3, nil, nil, nil)}, []string{`"t"`, "rank 0", "rank 3", "once"}},
		"all twice":     {[]box{boxIn(0, four, []int64{0, 0}, four), boxIn(1, four, []int64{0, 0}, four)}, []string{"rank 0 has [0:4, 0:6]", "rank 1"}},
		"overlap": {
			[]box{boxIn(0, four, []int64{0, 0}, []int64{3, 6}), boxIn(1, four, []int64{2, 0}, []int64{2, 6})},
			[]string{"rank 0 has [0:3, 0:6]", "rank 1 has [2:4, 0:6]"},
		},
		"hole in rows": {
			[]box{boxIn(0, four, []int64{0, 0}, []int64{1, 6}), boxIn(1, four, []int64{2, 0}, []int64{2, 6})},
			[]string{"element [1 0]"},
		},
		"hole in a corner": {
			[]box{boxIn(0, four, []int64{0, 0}, []int64{3, 6}), boxIn(1, four, []int64{3, 0}, []int64{1, 5})},
			[]string{"element [3 5]"},
		},
		"one begins late": {[]box{boxIn(0, four, []int64{0, 2}, []int64{4, 4})}, []string{"element [0 0]"}},
		"other shape":     {[]box{boxIn(0, four, []int64{0, 0}, four), boxIn(7, []int64{4, 7}, []int64{0, 6}, []int64{4, 1})}, []string{"[4 6] in rank 0", "[4 7] in rank 7"}},
		"other dtype": {
			[]box{boxIn(0, four, []int64{0, 0}, []int64{2, 6}), {tensor: "t", whole: four, offsets: []int64{2, 0}, sizes: []int64{2, 6}, dtype: "BF16", bits: 16, rank: 1}},
			[]string{"U8 of 8 bits in rank 0", "BF16 of 16 bits in rank 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkCover(c.boxes)
			if c.says == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantContains(t, err, c.says...)
		})
	}
}

// cut cuts a box at random until there are as many as wanted.
func cut(rng *rand.Rand, whole []int64, count int) []box {
	boxes := []box{boxIn(0, whole, make([]int64, len(whole)), whole)}
	for len(boxes) < count {
		i, dim := rng.IntN(len(boxes)), rng.IntN(len(whole))
		b := boxes[i]
		if b.sizes[dim] < 2 {
			continue
		}
		at := 1 + rng.Int64N(b.sizes[dim]-1)
		low, high := boxIn(b.rank, whole, b.offsets, append([]int64{}, b.sizes...)), boxIn(len(boxes), whole, append([]int64{}, b.offsets...), append([]int64{}, b.sizes...))
		low.sizes[dim], high.sizes[dim] = at, b.sizes[dim]-at
		high.offsets[dim] += at
		boxes[i] = low
		boxes = append(boxes, high)
	}
	rng.Shuffle(len(boxes), func(i, j int) { boxes[i], boxes[j] = boxes[j], boxes[i] })
	return boxes
}

// TestCoverOfCuts cuts tensors at random: all pieces cover them, one less leaves a hole in its place, one grown by an element
// overlaps, and so does one that is there twice.
func TestCoverOfCuts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		whole := []int64{2 + rng.Int64N(6), 2 + rng.Int64N(6), 1 + rng.Int64N(4)}
		boxes := cut(rng, whole, 2+rng.IntN(int(min(6, volume(whole)-1))))
		if err := checkCover(boxes); err != nil {
			t.Fatal(err)
		}
		gone := boxes[0]
		at := hole(boxes[1:], whole, nil)
		missing := boxIn(0, whole, at, []int64{1, 1, 1})
		if !missing.meets(&gone) {
			t.Fatalf("the hole %v is said to be at %v", &gone, at)
		}
		if err := checkCover(boxes[1:]); err == nil || !strings.Contains(err.Error(), "no rank has") {
			t.Fatalf("without %v: %v", &gone, err)
		}
		if err := checkCover(append(boxes, gone)); err == nil || !strings.Contains(err.Error(), "once") {
			t.Fatalf("with %v twice: %v", &gone, err)
		}
		for dim := range whole {
			if gone.end(dim) < whole[dim] {
				grown := boxIn(gone.rank, whole, gone.offsets, append([]int64{}, gone.sizes...))
				grown.sizes[dim]++
				if err := checkCover(append([]box{grown}, boxes[1:]...)); err == nil || !strings.Contains(err.Error(), "once") {
					t.Fatalf("with %v for %v: %v", &grown, &gone, err)
				}
			}
		}
	}
}
