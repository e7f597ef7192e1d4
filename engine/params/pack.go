package params

import (
	"encoding/binary"
	"errors"
	"maps"

	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

const (
	// What follows never changes.
	packMagic     = "\x89PPAK\r\n\x1a"
	manifestMagic = "\x89PMAN\r\n\x1a"

	packVersion  = 1
	trailerBytes = 64

	// maxIndexBytes is far more than the index of a pack has.
	maxIndexBytes = 1 << 36
)

// placed is an object in a pack.
type placed struct {
	offset, length int64
	blocks         []sum
}

func packHeader(id ident) []byte {
	header := make([]byte, pageBytes)
	copy(header, packMagic)
	binary.LittleEndian.PutUint32(header[8:], packVersion)
	copy(header[16:], id[:])
	return header
}

// packEndOf is the index and the trailer of a pack, whose index begins at off.
func packEndOf(id ident, off int64, objects []placed) []byte {
	index := binary.LittleEndian.AppendUint64(nil, uint64(len(objects)))
	for _, o := range objects {
		index = binary.LittleEndian.AppendUint64(index, uint64(o.offset))
		index = binary.LittleEndian.AppendUint64(index, uint64(o.length))
	}
	for _, o := range objects {
		for i := range o.blocks {
			index = append(index, o.blocks[i][:]...)
		}
	}
	length := len(index)
	padded := (length + trailerBytes + pageBytes - 1) &^ (pageBytes - 1)
	index = append(index, make([]byte, padded-length)...)
	trailer := index[padded-trailerBytes:]
	copy(trailer, packMagic)
	binary.LittleEndian.PutUint32(trailer[8:], packVersion)
	copy(trailer[16:], id[:])
	binary.LittleEndian.PutUint64(trailer[32:], uint64(off))
	binary.LittleEndian.PutUint64(trailer[40:], uint64(length))
	check := packSum(index[:length], trailer)
	copy(trailer[48:], check[:])
	return index
}

func packSum(index, trailer []byte) sum {
	hash := xxh3.New()
	_, _ = hash.Write(index) // never fails
	_, _ = hash.Write(trailer[:48])
	return hash.Sum128().Bytes()
}

// openSized opens a file for reading and says how long it is.
func openSized(fsys vfs.FS, path string) (vfs.File, int64, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// readPack returns the objects of a pack, as its index has them.
func readPack(fsys vfs.FS, path string, id ident) ([]placed, error) {
	f, size, err := openSized(fsys, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size < pageBytes+trailerBytes {
		return nil, damaged(path, "it has %d bytes, and is no pack", size)
	}
	trailer := make([]byte, trailerBytes)
	if err := vfs.ReadPieces(f, [][]byte{trailer}, size-trailerBytes); err != nil {
		return nil, err
	}
	off, length := int64(binary.LittleEndian.Uint64(trailer[32:])), int64(binary.LittleEndian.Uint64(trailer[40:]))
	if string(trailer[:8]) != packMagic || ident(trailer[16:32]) != id ||
		off < pageBytes || length < 8 || length > maxIndexBytes || off+length > size-trailerBytes {
		return nil, damaged(path, "it does not end as the pack %v", id)
	}
	if version := binary.LittleEndian.Uint32(trailer[8:]); version != packVersion {
		return nil, damaged(path, "it has format version %d, this program knows %d", version, packVersion)
	}
	index := make([]byte, length)
	if err := vfs.ReadPieces(f, [][]byte{index}, off); err != nil {
		return nil, err
	}
	if packSum(index, trailer) != sum(trailer[48:]) {
		return nil, damaged(path, "its index does not have its checksum")
	}
	objects, ok := parseIndex(index)
	if !ok {
		return nil, damaged(path, "its index makes no sense")
	}
	return objects, nil
}

func parseIndex(index []byte) ([]placed, bool) {
	count := binary.LittleEndian.Uint64(index)
	index = index[8:]
	if count > uint64(len(index))/16 {
		return nil, false
	}
	objects := make([]placed, count)
	sums := index[16*count:]
	for i := range objects {
		o := &objects[i]
		o.offset = int64(binary.LittleEndian.Uint64(index[16*i:]))
		o.length = int64(binary.LittleEndian.Uint64(index[16*i+8:]))
		if o.offset < 0 || o.length < 0 || blocksIn(o.length) > int64(len(sums)/16) {
			return nil, false
		}
		o.blocks = make([]sum, blocksIn(o.length))
		for b := range o.blocks {
			o.blocks[b] = sum(sums[16*b:])
		}
		sums = sums[16*len(o.blocks):]
	}
	return objects, len(sums) == 0
}

// location is where an object is.
type location struct {
	pack   ident
	offset int64
}

// objectIndex says where objects are, of packs whose index was read.
type objectIndex struct {
	packs map[ident]bool
	where map[sum]location
}

func newObjectIndex() objectIndex {
	return objectIndex{packs: map[ident]bool{}, where: map[sum]location{}}
}

func (x *objectIndex) add(pack ident, objects []placed) {
	x.packs[pack] = true
	for _, o := range objects {
		x.where[identify(o.length, o.blocks)] = location{pack, o.offset}
	}
}

// drop forgets packs that are gone.
func (x *objectIndex) drop(there map[ident]bool) {
	before := len(x.packs)
	for pack := range x.packs {
		if !there[pack] {
			delete(x.packs, pack)
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
func (x *objectIndex) copied() map[sum]location { return maps.Clone(x.where) }
