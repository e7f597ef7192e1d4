package content

import (
	"crypto/sha256"
	"encoding/hex"
)

// NameBytes is the size of a name.
const NameBytes = sha256.Size

// Name names a value by what it is.
type Name [NameBytes]byte

func (n Name) String() string { return hex.EncodeToString(n[:]) }

// place is where a value lies.
type place struct {
	offset int64
	kept   bool // since the opening
}

// index is where the values are, and what is left to be removed.
type index struct {
	places map[Name]place
	stale  []int64 // offsets of rows that do not count
}

// add notes where a value lies. One that was there before does not count any more.
func (x *index) add(name Name, offset int64, kept bool) {
	if old, ok := x.places[name]; ok {
		x.stale = append(x.stale, old.offset)
	}
	x.places[name] = place{offset, kept}
}

// keep says whether a value is there, which stays from now on, and where.
func (x *index) keep(name Name) (offset int64, ok bool) {
	p, ok := x.places[name]
	if ok && !p.kept {
		x.places[name] = place{p.offset, true}
	}
	return p.offset, ok
}

// drop forgets values by their names, but for those that were kept, and returns the offsets of all that can be removed.
func (x *index) drop(names map[Name]struct{}) (offsets []int64) {
	offsets, x.stale = x.stale, nil
	for name := range names {
		if p, ok := x.places[name]; ok && !p.kept {
			offsets = append(offsets, p.offset)
			delete(x.places, name)
		}
	}
	return offsets
}
