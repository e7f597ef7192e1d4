package params

import (
	"errors"
	"math"

	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/engine/params/pack"
)

// base is the version that a save tells the differences from.
type base struct {
	v        *Weights
	kept     *snapshot // of it, or nil
	objectOf map[pack.Sum]uint32
}

// openBase opens the version that is meant. There may be none, or none that can be read: [Store.Verify] tells of that.
func (s *Store) openBase(name, ref string) (*base, error) {
	if ref == "" {
		return nil, nil
	}
	v, err := s.Open(name, ref)
	switch {
	case errors.As(err, new(*pack.DamageError)), ref == Latest && errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	b := &base{v: v, objectOf: make(map[pack.Sum]uint32, len(v.m.lengths))}
	for object := range uint32(len(v.m.lengths)) {
		b.objectOf[v.m.identity(object)] = object
	}
	return b, nil
}

// remember has the base be read from memory, if the store has kept it. There may be no base.
func (b *base) remember(name string) {
	if b == nil {
		return
	}
	if k := b.v.s.kept.take(name); k != nil && k.manifest == b.v.Entry.Manifest {
		b.kept = k
	} else if k != nil {
		k.free()
	}
}

// has says whether an object is one of the base. There may be no base.
func (b *base) has(id pack.Sum) bool {
	if b == nil {
		return false
	}
	_, found := b.objectOf[id]
	return found
}

// becoming is a tensor that is told from the one in the base of its name, dtype and length.
type becoming struct {
	name           string
	object, before uint32 // the latter in the base
	kept           bool   // in the snapshot, which its coding brings up to date
	data           []byte
	blocks         []pack.Sum
	step, star     *coding // the latter may be nil
}

const (
	// anchorSteps is after how many it becomes an anchor itself, starShare from how many hundredths of it on its star is too
	// large, and chainShare the layers that a reader would have to apply.
	anchorSteps = 64
	starShare   = 25
	chainShare  = 50
	// minDelta is how long a tensor is that is told from another; below, the head of a coded object is too much.
	minDelta = 4096
)

// becoming returns nil for a tensor that there is nothing to be told from.
func (b *base) becoming(t *Tensor, blocks []pack.Sum) (*becoming, error) {
	if b == nil || len(t.Data) < minDelta {
		return nil, nil
	}
	i, found := b.v.m.find(t.Name)
	if !found || b.v.m.dtype(i) != t.DType || b.v.m.length(i) != int64(len(t.Data)) {
		return nil, nil
	}
	made := &becoming{name: t.Name, before: b.v.m.objectOf[i], data: t.Data, blocks: blocks, step: b.step(i, t, blocks)}
	made.kept = made.step.from.memory != nil
	if age := b.v.m.age(made.before) + 1; age%starSteps == 0 && age < anchorSteps {
		var err error
		if made.star, err = b.star(i, t, blocks); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// codings are those that there are.
func (b *becoming) codings() []*coding {
	if b.star == nil {
		return []*coding{b.step}
	}
	return []*coding{b.step, b.star}
}

// wait returns the coded objects, nil for what is not worth its while.
func (b *becoming) wait() (step, star []byte, err error) {
	step, err = b.step.wait()
	if b.star != nil {
		var failed error
		star, failed = b.star.wait()
		err = errors.Join(err, failed)
	}
	return step, star, err
}

// form is how a tensor is stored that changed.
type form int

const (
	asStep   form = iota // the layers of the base and one more
	asStar               // one layer over the anchor; the one over the base is for those who have that
	asAnchor             // raw bytes; so is the one over the base here
)

// form decides how a tensor is stored, whose object in the base m has.
func (b *becoming) form(m *manifest, step, star []byte) form {
	age, size := m.age(b.before)+1, int64(len(b.data))
	if age%starSteps == 0 {
		if age >= anchorSteps || star == nil || int64(len(star)) > size*starShare/100 {
			return asAnchor
		}
		return asStar
	}
	chained := int64(len(step))
	for _, l := range m.chain(b.before) {
		chained += l.length
	}
	if chained > size*chainShare/100 {
		return asAnchor
	}
	return asStep
}

// step is the coding of a tensor as what became of the one in the base.
func (b *base) step(i int, t *Tensor, sums []pack.Sum) *coding {
	object := b.v.m.objectOf[i]
	from := &origin{sums: b.v.m.sumsOf(object), memory: b.kept.memory(t.Name, int64(len(t.Data))), v: b.v, tensor: i, layers: b.v.chain(object)}
	if from.layers != nil {
		from.layers.left.Store(math.MaxInt64) // it goes with the coding
	}
	return newCoding(t, sums, from)
}

// star is the coding of a tensor as what became of the raw bytes below the layers of the one in the base, nil where these are
// damaged.
func (b *base) star(i int, t *Tensor, sums []pack.Sum) (*coding, error) {
	anchors, err := b.v.chain(b.v.m.objectOf[i]).anchorSums()
	switch {
	case errors.As(err, new(*pack.DamageError)):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return newCoding(t, sums, &origin{sums: anchors, v: b.v, tensor: i}), nil
}

// close ends the use of it; the snapshot is another's by then.
func (b *base) close() error {
	if b == nil {
		return nil
	}
	b.kept.free()
	return b.v.Close()
}

func newCoding(t *Tensor, sums []pack.Sum, from *origin) *coding {
	c := &coding{
		coded:  coded{width: delta.Width(t.DType, int64(len(t.Data))), length: int64(len(t.Data)), blocks: make([]codedBlock, len(sums))},
		target: t.Data, from: from, done: make(chan struct{}),
	}
	for i := range sums {
		c.blocks[i].base, c.blocks[i].target = from.sums[i], sums[i]
	}
	return c
}
