package params

import (
	"math"

	"github.com/persisting/persisting/engine/params/pack"
)

// Rows are parts of a tensor at equal distances, as the columns of a matrix have them, and as many in memory. The first begins
// where the want does on both sides.
type Rows struct {
	Count  int64
	Length int64 // bytes of each
	Step   int64 // from the first byte of one to that of the next, in the tensor
	Into   int64 // and in memory
}

// check refuses rows that overlap, or that no memory has room for.
func (r Rows) check() error {
	last := r.Count - 1
	switch {
	case r.Count < 1 || r.Length < 1:
		return invalid("%d rows of %d bytes, want at least 1 of at least 1", r.Count, r.Length)
	case last > 0 && (r.Step < r.Length || r.Into < r.Length):
		return invalid("rows of %d bytes that begin %d apart in the tensor and %d in memory overlap", r.Length, r.Step, r.Into)
	case last > 0 && last > (math.MaxInt64-r.Length)/max(r.Step, r.Into):
		return invalid("%d rows that begin %d apart in the tensor and %d in memory are too many", r.Count, r.Step, r.Into)
	}
	return nil
}

// Size is how much memory the rows are in, from the first byte to the last.
func (r Rows) Size() (int64, error) {
	return (r.Count-1)*r.Into + r.Length, r.check()
}

// span is how many bytes of the tensor a part is in, from the first to the last.
func (w *Want) span() (int64, error) {
	r := w.Rows
	if r == (Rows{}) {
		return int64(len(w.Into)), nil
	}
	size, err := r.Size()
	if err == nil && size != int64(len(w.Into)) {
		err = invalid("rows of %d bytes do not go to memory of %d", size, len(w.Into))
	}
	return (r.Count-1)*r.Step + r.Length, err
}

// rowUnits adds the blocks that rows lie in.
func (v *Weights) rowUnits(units []unit, tensor int, w Want) []unit {
	m, before := v.m, len(units)
	object := m.objectOf[tensor]
	length, at, sums := m.lengths[object], m.offsets[object], m.sumsOf(object)
	layers := v.chain(object)
	last := w.Offset + (w.Rows.Count-1)*w.Rows.Step + w.Rows.Length - 1
	for block := (w.Offset + pack.Phase) / pack.BlockBytes; block <= (last+pack.Phase)/pack.BlockBytes; block++ {
		from, to := pack.Range(block, length)
		if first, end := w.within(from, to); first == end {
			continue
		}
		units = append(units, unit{
			tensor: tensor, pack: m.packOf[object], offset: at + from, length: to - from, sum: sums[block],
			rows: &w, chain: layers, block: block,
		})
	}
	if layers != nil {
		layers.left.Store(int64(len(units) - before))
	}
	return units
}

// within are the rows of which something lies in a range of the tensor, from the first on to before the end.
func (w *Want) within(from, to int64) (first, end int64) {
	step := max(1, w.Rows.Step) // a single row may have none
	if behind := from - w.Offset - w.Rows.Length; behind >= 0 {
		first = behind/step + 1
	}
	if to > w.Offset {
		end = min(w.Rows.Count, (to-w.Offset-1)/step+1)
	}
	return first, max(first, end)
}

// put brings what a part of the tensor has of the rows, which begins at from, to where it is wanted.
func (w *Want) put(data []byte, from int64) {
	first, end := w.within(from, from+int64(len(data)))
	for row := first; row < end; row++ {
		begin := w.Offset + row*w.Rows.Step - from // of the row in the data, which may have the rest of it only
		skip := max(0, -begin)
		stop := min(begin+w.Rows.Length, int64(len(data)))
		copy(w.Into[row*w.Rows.Into+skip:], data[begin+skip:stop])
	}
}
