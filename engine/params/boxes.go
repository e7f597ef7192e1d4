package params

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Piece is a tensor that a rank adds to a version, or a box of one.
type Piece struct {
	Tensor
	Whole   []int64 // shape of the tensor that it is a box of, nil if it is all of it
	Offsets []int64 // where in that it begins
}

// boxMark is what the name of a box begins with in a manifest. Its shape there is that of the box.
const boxMark = "\x00box:"

// named returns the piece as a tensor of a manifest: a box under a name that says where it belongs.
func (p *Piece) named() Tensor {
	t := p.Tensor
	if p.Whole != nil && !slices.Equal(p.Whole, p.Shape) {
		t.Name = boxMark + joined(p.Whole) + ":" + joined(p.Offsets) + ":" + p.Name
	}
	return t
}

func joined(numbers []int64) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, "x")
}

// check refuses a box that is not within its tensor.
func (p *Piece) check() error {
	if strings.HasPrefix(p.Name, boxMark) {
		return invalid("tensor %q: a name that begins so is that of a box", p.Name)
	}
	if p.Whole == nil {
		return nil
	}
	if len(p.Whole) != len(p.Shape) || len(p.Offsets) != len(p.Shape) {
		return invalid("tensor %q: a box with shape %v and offsets %v is in none with shape %v", p.Name, p.Shape, p.Offsets, p.Whole)
	}
	volume := int64(1)
	for i, n := range p.Whole {
		if p.Shape[i] < 0 || p.Offsets[i] < 0 || p.Offsets[i] > n-p.Shape[i] {
			return invalid("tensor %q: a box with shape %v at %v is not within shape %v", p.Name, p.Shape, p.Offsets, p.Whole)
		}
		if n > 0 && volume > math.MaxInt64/n {
			return invalid("tensor %q: there is no shape %v", p.Name, p.Whole)
		}
		volume *= n
	}
	return nil
}

// isEmpty says whether it holds nothing of a tensor that holds something.
func (p *Piece) isEmpty() bool {
	return p.Whole != nil && slices.Contains(p.Shape, 0) && !slices.Contains(p.Whole, 0)
}

// box is a piece as it stands in the manifest of a rank.
type box struct {
	tensor                string
	whole, offsets, sizes []int64
	dtype                 string
	bits                  int64 // of an element, 0 where there is none
	rank                  int
}

// boxOf reads the name under which a piece stands.
func boxOf(t *Tensor, bytes int64, rank int) (box, error) {
	b := box{tensor: t.Name, whole: t.Shape, offsets: make([]int64, len(t.Shape)), sizes: t.Shape, dtype: t.DType, rank: rank}
	if n := volume(t.Shape); n > 0 {
		b.bits = 8 * bytes / n
	}
	text, marked := strings.CutPrefix(t.Name, boxMark)
	if !marked {
		return b, nil
	}
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 3 {
		return b, fmt.Errorf("%q is no name of a box", t.Name)
	}
	var err error
	if b.whole, err = split(parts[0]); err == nil {
		b.offsets, err = split(parts[1])
	}
	b.tensor = parts[2]
	return b, err
}

func split(text string) ([]int64, error) {
	var numbers []int64
	for _, part := range strings.Split(text, "x") {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

func (b *box) String() string {
	ranges := make([]string, len(b.sizes))
	for i := range ranges {
		ranges[i] = fmt.Sprintf("%d:%d", b.offsets[i], b.end(i))
	}
	return "[" + strings.Join(ranges, ", ") + "]"
}

func (b *box) end(dim int) int64 { return b.offsets[dim] + b.sizes[dim] }

func volume(sizes []int64) int64 {
	n := int64(1)
	for _, size := range sizes {
		n *= size
	}
	return n
}

func (b *box) meets(other *box) bool {
	for i := range b.sizes {
		if b.end(i) <= other.offsets[i] || other.end(i) <= b.offsets[i] {
			return false
		}
	}
	return true
}

// checkCover says how boxes are not each element of their tensor once.
func checkCover(boxes []box) error {
	first := &boxes[0]
	covered := int64(0)
	for i := range boxes {
		b := &boxes[i]
		switch {
		case b.dtype != first.dtype || b.bits != first.bits:
			return invalid("tensor %q: its elements are %s of %d bits in rank %d, %s of %d bits in rank %d",
				b.tensor, first.dtype, first.bits, first.rank, b.dtype, b.bits, b.rank)
		case !slices.Equal(b.whole, first.whole):
			return invalid("tensor %q: its shape is %v in rank %d, %v in rank %d", b.tensor, first.whole, first.rank, b.whole, b.rank)
		}
		covered += volume(b.sizes)
	}
	if a, b := overlap(boxes); a != nil {
		return invalid("tensor %q: rank %d has %v of it and rank %d has %v: each element must come once", a.tensor, a.rank, a, b.rank, b)
	}
	if covered != volume(first.whole) {
		return invalid("tensor %q: no rank has its element %v", first.tensor, hole(boxes, first.whole, nil))
	}
	return nil
}

// overlap finds two boxes that have an element in common: it goes along the dimension in which most of them differ.
func overlap(boxes []box) (a, b *box) {
	order := make([]*box, len(boxes))
	for i := range boxes {
		order[i] = &boxes[i]
	}
	dim := widest(boxes)
	if dim < 0 {
		if len(boxes) > 1 {
			return order[0], order[1]
		}
		return nil, nil
	}
	slices.SortStableFunc(order, func(a, b *box) int { return cmp.Compare(a.offsets[dim], b.offsets[dim]) })
	var open []*box
	for _, next := range order {
		open = slices.DeleteFunc(open, func(b *box) bool { return b.end(dim) <= next.offsets[dim] })
		for _, b := range open {
			if b.meets(next) {
				return b, next
			}
		}
		open = append(open, next)
	}
	return nil, nil
}

// widest is the dimension with the most different offsets, -1 if there is none.
func widest(boxes []box) int {
	best, most := -1, 0
	for dim := range boxes[0].whole {
		seen := map[int64]bool{}
		for i := range boxes {
			seen[boxes[i].offsets[dim]] = true
		}
		if len(seen) > most {
			best, most = dim, len(seen)
		}
	}
	return best
}

// hole is the first element, by the dimensions in their order, that is in none of the boxes; nil if there is none. `at` are its
// coordinates so far, in which all of the boxes have it.
func hole(boxes []box, whole, at []int64) []int64 {
	dim := len(at)
	if len(boxes) == 0 {
		return append(slices.Clone(at), make([]int64, len(whole)-dim)...)
	}
	if dim == len(whole) {
		return nil
	}
	cuts := []int64{0}
	for i := range boxes {
		cuts = append(cuts, boxes[i].offsets[dim], boxes[i].end(dim))
	}
	slices.Sort(cuts)
	for _, cut := range slices.Compact(cuts) {
		if cut == whole[dim] {
			break
		}
		var inside []box
		for _, b := range boxes {
			if b.offsets[dim] <= cut && cut < b.end(dim) {
				inside = append(inside, b)
			}
		}
		if found := hole(inside, whole, append(slices.Clone(at), cut)); found != nil {
			return found
		}
	}
	return nil
}
