package params

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
)

// errThere is returned when somebody else has pushed the same version meanwhile.
var errThere = errors.New("params: the version is there by now")

// Push brings a version to a store, this one or another, as the next version of a name. What the store has already, of any name,
// is neither read nor written: changes are brought as they are stored here. A version that was brought before is not brought
// again, and gets the tags alone. Without metadata in the options it has that of the version.
func (v *Weights) Push(to *Store, name string, o SaveOptions) (*Entry, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.closed {
		return nil, ErrClosed
	}
	if err := to.open(); err != nil {
		return nil, err
	}
	if o.Base != "" {
		return nil, invalid("a version that is pushed is told from what it is told from, not from %q", o.Base)
	}
	if o.Metadata == nil {
		o.Metadata = v.Entry.Metadata
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		entry, err := v.push(to, name, o)
		again := errors.Is(err, errVanished) || errors.Is(err, errThere)
		if !again || try == saveTries {
			return entry, err
		}
	}
}

func (v *Weights) push(to *Store, name string, o SaveOptions) (*Entry, error) {
	n, err := to.read(name)
	if err != nil {
		return nil, err
	}
	if there := n.from(v.Entry.origin()); there != nil {
		for _, tag := range o.Tags {
			if _, err := to.SetTag(name, tag, fmt.Sprint(there.Version), nil); err != nil {
				return nil, err
			}
		}
		return there, nil
	}
	base, err := v.baseIn(n)
	if err != nil {
		return nil, err
	}
	known, err := to.known()
	if err != nil {
		return nil, err
	}
	id := newIdent()
	p := &pushing{saving: to.saving(id, id, nil), v: v, indexes: map[uint32]map[int64]pack.Object{}, block: vfs.Aligned(pack.BlockBytes)}
	p.known = known
	return to.published(name, p.saving, o, func() (*Entry, error) {
		entry, err := p.prepare(o)
		if err == nil {
			entry.Tensors, entry.Base, entry.Origin = v.Entry.Tensors, base, v.Entry.origin()
		}
		return entry, err
	})
}

// origin is the manifest that a version was first published with, wherever it has been pushed to.
func (e *Entry) origin() ident {
	if e.Origin != (ident{}) {
		return e.Origin
	}
	return e.Manifest
}

// from finds the version with an origin, nil where there is none.
func (n *Name) from(origin ident) *Entry {
	for i := range n.Versions {
		if n.Versions[i].origin() == origin {
			return &n.Versions[i]
		}
	}
	return nil
}

// baseIn is the number that the base of this version has where it is pushed to, 0 where it is not there.
func (v *Weights) baseIn(n *Name) (uint64, error) {
	if v.Entry.Base == 0 {
		return 0, nil
	}
	own, err := v.s.read(v.Name)
	if err != nil {
		return 0, err
	}
	i, found := own.find(v.Entry.Base)
	if !found {
		return 0, nil
	}
	if there := n.from(own.Versions[i].origin()); there != nil {
		return there.Version, nil
	}
	return 0, nil
}

// pushing is a push under way: a save of what another store has.
type pushing struct {
	*saving
	v       *Weights
	indexes map[uint32]map[int64]pack.Object // of the packs of the version, by the places of the objects
	block   []byte
}

// prepare brings what is not there and writes the manifest.
func (p *pushing) prepare(o SaveOptions) (*Entry, error) {
	if err := p.fetchAll(); err != nil {
		if p.pack != nil {
			err = errors.Join(err, p.pack.Abandon())
		}
		return nil, err
	}
	m := p.v.m
	for _, i := range m.places() {
		p.tensors = append(p.tensors, Tensor{Name: string(m.name(i)), DType: m.dtype(i), Shape: m.shape(i), Tie: m.tieOf[i]})
		p.m.objectOf = append(p.m.objectOf, m.objectOf[i])
	}
	return p.conclude(byName(p.tensors), o)
}

// fetchAll brings all objects, which keep their numbers, with their layers.
func (p *pushing) fetchAll() error {
	m := p.v.m
	for object := range uint32(len(m.lengths)) {
		number := p.newObject(m.lengths[object], m.sumsOf(object))
		if m.lengths[object] == 0 {
			continue
		}
		at, err := p.fetch(m.packOf[object], m.offsets[object])
		if err != nil {
			return err
		}
		p.place(number, at)
		layers := m.layersOf(object)
		if len(layers) == 0 {
			continue
		}
		own := &layered{age: m.age(object), anchor: m.anchor(object)}
		p.layered[number] = own
		for _, l := range layers {
			at, err := p.fetch(l.pack, l.offset)
			if err != nil {
				return err
			}
			l.pack, l.offset = p.packNumber(at.pack), at.offset
			own.layers = append(own.layers, &l)
		}
	}
	return p.seal()
}

// fetch returns where an object of a pack of the version is in the store that it is pushed to, and brings it there first if it is
// not: raw bytes or a layer, as it is.
func (p *pushing) fetch(number uint32, offset int64) (location, error) {
	o, err := p.object(number, offset)
	if err != nil {
		return location{}, err
	}
	id := pack.Identify(o.Length, o.Blocks)
	if at, there := p.brought[id]; there {
		return at, nil
	}
	if at, there := p.known[id]; there {
		return at, nil
	}
	files, err := p.v.file(number)
	if err != nil {
		return location{}, err
	}
	if err := p.room(); err != nil {
		return location{}, err
	}
	off, err := p.pack.Copy(o, func(block int, from, to int64) ([]byte, error) {
		data := p.block[:to-from]
		if err := vfs.ReadPieces(files.opened, [][]byte{data}, offset+from); err != nil {
			return nil, fmt.Errorf("%s at %d: %w", files.path, offset+from, err)
		}
		if pack.SumOf(data) != o.Blocks[block] {
			return nil, &pack.DamageError{Path: files.path, Offset: offset + from, Reason: errSum.Error()}
		}
		return data, nil
	})
	if err != nil {
		return location{}, err
	}
	p.brought[id] = location{p.pack.ID(), off}
	return p.brought[id], nil
}

// object is what the index of a pack of the version has of an object.
func (p *pushing) object(number uint32, offset int64) (*pack.Object, error) {
	id := p.v.m.packs[number]
	path := p.v.s.packPath(id)
	if p.indexes[number] == nil {
		objects, err := pack.Read(p.v.s.o.FS, path, id)
		if err != nil {
			return nil, err
		}
		index := map[int64]pack.Object{}
		for _, o := range objects {
			index[o.Offset] = o
		}
		p.indexes[number] = index
	}
	o, there := p.indexes[number][offset]
	if !there {
		return nil, pack.Damaged(path, "its index has no object at %d", offset)
	}
	return &o, nil
}
