package params

import (
	"errors"

	"github.com/persisting/persisting/engine/params/pack"
)

// packBytes is about how long a pack becomes: one that is dead in part is kept as a whole.
const packBytes = 4 << 30

// saving is a save under way.
type saving struct {
	s       *Store
	id      ident // also that of the manifest
	stage   ident // what its files begin with before they are published: itself, or its transaction
	tensors []Tensor
	m       manifest

	known   map[pack.Sum]location // in the store
	written map[pack.Sum]uint32   // objects of this version
	brought map[pack.Sum]location // layers that this save made, and what a push brought
	pack    *pack.Writer
	packOf  map[ident]uint32 // in m.packs
	made    []ident          // packs
	moved   []ident          // those of them that are under their own names
	left    int64            // bytes that may still come
	stored  int64

	progress func(done int64) error // nil for nobody
	done     int64

	base    *base // nil: all is stored as it is
	deltas  []*becoming
	small   []later
	layered map[uint32]*layered // objects that have layers
}

func (s *Store) saving(id, stage ident, tensors []Tensor) *saving {
	return &saving{
		s: s, id: id, stage: stage, tensors: tensors,
		written: map[pack.Sum]uint32{}, brought: map[pack.Sum]location{}, packOf: map[ident]uint32{}, layered: map[uint32]*layered{},
	}
}

// layered is what an object with layers has besides its raw bytes.
type layered struct {
	age    uint32
	anchor pack.Sum
	layers []*layer
}

// later is what is written behind all large objects.
type later struct {
	data   []byte
	blocks []pack.Sum
	then   func(location)
}

// store finds what is in the store already and writes the rest: large objects first, then all small ones side by side.
func (v *saving) store() (err error) {
	data := make([][]byte, len(v.tensors))
	for i := range v.tensors {
		data[i] = v.tensors[i].Data
		v.left += int64(len(data[i]))
	}
	v.m.objectOf = make([]uint32, len(data))
	defer func() {
		if err != nil && v.pack != nil {
			err = errors.Join(err, v.pack.Abandon())
		}
	}()
	err = pack.Hash(data).Each(func(i int, blocks []pack.Sum) error {
		id := pack.Identify(int64(len(data[i])), blocks)
		object, there := v.written[id]
		if !there {
			object = v.newObject(int64(len(data[i])), blocks)
			v.written[id] = object
		}
		v.m.objectOf[i] = object
		at, stored := v.known[id]
		switch {
		case there || len(data[i]) == 0:
		case stored:
			v.place(object, at)
		case v.base.has(id):
			v.inherit(object, v.base.v.m, v.base.objectOf[id])
		default:
			return v.add(object, &v.tensors[i], blocks)
		}
		return v.through(int64(len(data[i])))
	})
	if err == nil {
		err = v.tell()
	}
	if err != nil {
		return err
	}
	for _, w := range v.small {
		if err := v.append(w); err != nil {
			return err
		}
	}
	return v.seal()
}

// add stores a tensor whose bytes no version has: told from what it was in the base, later, if it may be, else as it is.
func (v *saving) add(object uint32, t *Tensor, blocks []pack.Sum) error {
	b, err := v.base.becoming(t, blocks)
	switch {
	case err != nil:
		return err
	case b == nil:
		return v.write(object, t.Data, blocks)
	}
	b.object = object
	v.deltas = append(v.deltas, b)
	return nil
}

// write stores an object as it is.
func (v *saving) write(object uint32, data []byte, blocks []pack.Sum) error {
	if err := v.put(later{data, blocks, func(at location) { v.place(object, at) }}); err != nil {
		return err
	}
	return v.through(int64(len(data)))
}

// through notes that some bytes of tensors were seen to. It fails where the save is to end.
func (v *saving) through(bytes int64) error {
	v.left, v.done = v.left-bytes, v.done+bytes
	if v.progress == nil {
		return nil
	}
	return v.progress(v.done)
}

// tell stores the tensors that come from those of the base. It waits for the coding of all in any case: that reads the caller's
// memory.
func (v *saving) tell() error {
	var all []*coding
	for _, b := range v.deltas {
		all = append(all, b.codings()...)
	}
	codeAll(all, v.s.o.Readers)
	var failed error
	for _, b := range v.deltas {
		step, star, err := b.wait()
		if failed = errors.Join(failed, err); failed == nil {
			failed = v.layer(b, step, star)
		}
	}
	return failed
}

// layer stores a tensor as layers over an anchor, or as an anchor itself.
func (v *saving) layer(b *becoming, step, star []byte) error {
	if step == nil {
		return v.write(b.object, b.data, b.blocks)
	}
	m := v.base.v.m
	id := pack.Identify(int64(len(b.data)), b.blocks)
	own := &layered{age: m.age(b.before) + 1, anchor: m.anchor(b.before)}
	v.layered[b.object] = own
	switch b.form(m, step, star) {
	case asAnchor:
		own.age, own.anchor = 0, id
		if err := v.write(b.object, b.data, b.blocks); err != nil {
			return err
		}
	case asStar:
		v.stay(b.object, m, b.before)
		if err := errors.Join(v.code(own, star, own.anchor, id), v.through(int64(len(b.data)))); err != nil {
			return err
		}
	case asStep:
		v.stay(b.object, m, b.before)
		v.carry(own, m, m.chain(b.before))
		if err := v.through(int64(len(b.data))); err != nil {
			return err
		}
	}
	return v.code(own, step, m.identity(b.before), id)
}

// code stores a coded object as a layer.
func (v *saving) code(own *layered, data []byte, from, to pack.Sum) error {
	l := &layer{length: int64(len(data)), base: from, target: to}
	own.layers = append(own.layers, l)
	blocks := pack.Sums(data)
	return v.put(later{data, blocks, func(at location) {
		l.pack, l.offset = v.packNumber(at.pack), at.offset
		v.brought[pack.Identify(l.length, blocks)] = at
	}})
}

// carry takes layers over from another manifest.
func (v *saving) carry(own *layered, m *manifest, layers []layer) {
	for _, l := range layers {
		l.pack = v.packNumber(m.packs[l.pack])
		own.layers = append(own.layers, &l)
	}
}

// stay has an object lie where one of another manifest does.
func (v *saving) stay(object uint32, m *manifest, before uint32) {
	v.place(object, location{m.packs[m.packOf[before]], m.offsets[before]})
}

// inherit has an object be one of another manifest, with its layers.
func (v *saving) inherit(object uint32, m *manifest, before uint32) {
	v.stay(object, m, before)
	if all := m.layersOf(before); len(all) > 0 {
		own := &layered{age: m.age(before), anchor: m.anchor(before)}
		v.carry(own, m, all)
		v.layered[object] = own
	}
}

func (v *saving) newObject(length int64, blocks []pack.Sum) uint32 {
	v.m.packOf, v.m.offsets = append(v.m.packOf, 0), append(v.m.offsets, 0)
	v.m.lengths, v.m.blocks = append(v.m.lengths, length), append(v.m.blocks, blocks...)
	return uint32(len(v.m.lengths) - 1)
}

func (v *saving) place(object uint32, at location) {
	v.m.packOf[object], v.m.offsets[object] = v.packNumber(at.pack), at.offset
}

// packNumber is that of a pack in the manifest.
func (v *saving) packNumber(id ident) uint32 {
	number, there := v.packOf[id]
	if !there {
		number = uint32(len(v.m.packs))
		v.packOf[id] = number
		v.m.packs = append(v.m.packs, id)
	}
	return number
}

// put writes an object: now if it is large, else behind all that are.
func (v *saving) put(w later) error {
	if len(w.data) < pack.LargeBytes {
		v.small = append(v.small, w)
		return nil
	}
	return v.append(w)
}

func (v *saving) append(w later) error {
	if err := v.room(); err != nil {
		return err
	}
	at, err := v.pack.Put(w.data, w.blocks)
	w.then(location{v.pack.ID(), at})
	return err
}

// room has a pack be there that the next object goes to.
func (v *saving) room() error {
	if v.pack != nil && v.pack.Size() > packBytes {
		if err := v.seal(); err != nil {
			return err
		}
	}
	if v.pack != nil {
		return nil
	}
	id := newIdent()
	w, err := pack.Create(v.s.o.FS, v.packPath(id), id, pack.PageBytes+min(max(v.left, 0), packBytes))
	if err == nil {
		v.pack, v.made = w, append(v.made, id)
	}
	return err
}

// packPath is where a pack is before it is published.
func (v *saving) packPath(id ident) string { return v.s.path(packs, v.staged(id)) }

func (v *saving) manifestPath() string { return v.s.path(manifests, v.staged(v.id)) }

func (v *saving) staged(id ident) string { return v.stage.String() + "." + id.String() + stagedEnd }

func (v *saving) seal() error {
	if v.pack == nil {
		return nil
	}
	w := v.pack
	v.pack = nil
	if err := w.Seal(); err != nil {
		return err
	}
	v.stored += w.Size()
	return nil
}

// describe writes down the tensors in the order of their names.
func (v *saving) describe(order []int) error {
	m := &v.m
	objectOf := m.objectOf
	m.objectOf = make([]uint32, 0, len(order))
	dtypes, ties := map[string]uint16{}, map[uint32]uint32{}
	for _, i := range order {
		t := &v.tensors[i]
		if object, there := ties[t.Tie]; t.Tie > 0 && there && object != objectOf[i] {
			return invalid("tensor %q is one in memory with another, and has other bytes: it was changed while it was saved", t.Name)
		}
		ties[t.Tie] = objectOf[i]
		number, there := dtypes[t.DType]
		if !there {
			number = uint16(len(m.dtypes))
			dtypes[t.DType] = number
			m.dtypes = append(m.dtypes, t.DType)
		}
		m.names, m.dims = append(m.names, t.Name...), append(m.dims, t.Shape...)
		m.nameEnds, m.shapeEnds = append(m.nameEnds, uint64(len(m.names))), append(m.shapeEnds, uint32(len(m.dims)))
		m.dtypeOf, m.tieOf = append(m.dtypeOf, number), append(m.tieOf, t.Tie)
		m.objectOf, m.savedAs = append(m.objectOf, objectOf[i]), append(m.savedAs, uint32(i))
	}
	m.indexBlocks()
	if len(v.layered) > 0 {
		v.describeLayers()
	}
	return nil
}

func (v *saving) describeLayers() {
	m := &v.m
	for object := range uint32(len(m.lengths)) {
		own := v.layered[object]
		if own == nil {
			own = &layered{}
		}
		for _, l := range own.layers {
			m.layers = append(m.layers, *l)
		}
		m.layerEnds = append(m.layerEnds, uint32(len(m.layers)))
		m.ages, m.anchors = append(m.ages, own.age), append(m.anchors, own.anchor)
	}
}

// current are the tensors whose copy in the snapshot of the base was made what they are: it was in their coding, or already.
func (v *saving) current() map[string]bool {
	current := map[string]bool{}
	for _, b := range v.deltas {
		current[b.name] = b.kept
	}
	from := v.base.v.m
	for i := range v.m.count() {
		name := string(v.m.name(i))
		if before, found := from.find(name); found && from.identity(from.objectOf[before]) == v.m.identity(v.m.objectOf[i]) {
			current[name] = true
		}
	}
	return current
}
