package params

import (
	"maps"

	"github.com/persisting/persisting/engine/params/pack"
)

// location is where an object is.
type location struct {
	pack   ident
	offset int64
}

// objectIndex says where objects are, of packs whose index was read.
type objectIndex struct {
	packs map[ident]bool
	where map[pack.Sum]location
}

func newObjectIndex() objectIndex {
	return objectIndex{packs: map[ident]bool{}, where: map[pack.Sum]location{}}
}

func (x *objectIndex) add(id ident, objects []pack.Object) {
	x.packs[id] = true
	for _, o := range objects {
		x.where[pack.Identify(o.Length, o.Blocks)] = location{id, o.Offset}
	}
}

// drop forgets packs that are gone.
func (x *objectIndex) drop(there map[ident]bool) {
	before := len(x.packs)
	for id := range x.packs {
		if !there[id] {
			delete(x.packs, id)
		}
	}
	if len(x.packs) == before {
		return
	}
	for id, at := range x.where {
		if !x.packs[at.pack] {
			delete(x.where, id)
		}
	}
}

// copied is what a save may look at while others learn.
func (x *objectIndex) copied() map[pack.Sum]location { return maps.Clone(x.where) }
