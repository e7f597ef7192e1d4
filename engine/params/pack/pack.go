package pack

import (
	"encoding/binary"

	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

const (
	// What follows never changes.
	magic   = "\x89PPAK\r\n\x1a"
	version = 1

	// TrailerBytes is how long the end of a pack is.
	TrailerBytes = 64

	// maxIndexBytes is far more than the index of a pack has.
	maxIndexBytes = 1 << 36
)

// Object is an object in a pack.
type Object struct {
	Offset, Length int64
	Blocks         []Sum // their checksums
}

func header(id [16]byte) []byte {
	header := make([]byte, PageBytes)
	copy(header, magic)
	binary.LittleEndian.PutUint32(header[8:], version)
	copy(header[16:], id[:])
	return header
}

// endOf is the index and the trailer of a pack, whose index begins at off.
func endOf(id [16]byte, off int64, objects []Object) []byte {
	index := binary.LittleEndian.AppendUint64(nil, uint64(len(objects)))
	for _, o := range objects {
		index = binary.LittleEndian.AppendUint64(index, uint64(o.Offset))
		index = binary.LittleEndian.AppendUint64(index, uint64(o.Length))
	}
	for _, o := range objects {
		for i := range o.Blocks {
			index = append(index, o.Blocks[i][:]...)
		}
	}
	length := len(index)
	padded := (length + TrailerBytes + PageBytes - 1) &^ (PageBytes - 1)
	index = append(index, make([]byte, padded-length)...)
	trailer := index[padded-TrailerBytes:]
	copy(trailer, magic)
	binary.LittleEndian.PutUint32(trailer[8:], version)
	copy(trailer[16:], id[:])
	binary.LittleEndian.PutUint64(trailer[32:], uint64(off))
	binary.LittleEndian.PutUint64(trailer[40:], uint64(length))
	check := checksum(index[:length], trailer)
	copy(trailer[48:], check[:])
	return index
}

func checksum(index, trailer []byte) Sum {
	hash := xxh3.New()
	_, _ = hash.Write(index) // never fails
	_, _ = hash.Write(trailer[:48])
	return hash.Sum128().Bytes()
}

// Read returns the objects of a pack, as its index has them.
func Read(fsys vfs.FS, path string, id [16]byte) ([]Object, error) {
	f, size, err := vfs.OpenSized(fsys, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size < PageBytes+TrailerBytes {
		return nil, Damaged(path, "it has %d bytes, and is no pack", size)
	}
	trailer := make([]byte, TrailerBytes)
	if err := vfs.ReadPieces(f, [][]byte{trailer}, size-TrailerBytes); err != nil {
		return nil, err
	}
	off, length := int64(binary.LittleEndian.Uint64(trailer[32:])), int64(binary.LittleEndian.Uint64(trailer[40:]))
	if string(trailer[:8]) != magic || [16]byte(trailer[16:32]) != id ||
		off < PageBytes || length < 8 || length > maxIndexBytes || off+length > size-TrailerBytes {
		return nil, Damaged(path, "it does not end as the pack %x", id)
	}
	if found := binary.LittleEndian.Uint32(trailer[8:]); found != version {
		return nil, Damaged(path, "it has format version %d, this program knows %d", found, version)
	}
	index := make([]byte, length)
	if err := vfs.ReadPieces(f, [][]byte{index}, off); err != nil {
		return nil, err
	}
	if checksum(index, trailer) != Sum(trailer[48:]) {
		return nil, Damaged(path, "its index does not have its checksum")
	}
	objects, ok := parseIndex(index)
	if !ok {
		return nil, Damaged(path, "its index makes no sense")
	}
	return objects, nil
}

func parseIndex(index []byte) ([]Object, bool) {
	count := binary.LittleEndian.Uint64(index)
	index = index[8:]
	if count > uint64(len(index))/16 {
		return nil, false
	}
	objects := make([]Object, count)
	sums := index[16*count:]
	for i := range objects {
		o := &objects[i]
		o.Offset = int64(binary.LittleEndian.Uint64(index[16*i:]))
		o.Length = int64(binary.LittleEndian.Uint64(index[16*i+8:]))
		if o.Offset < 0 || o.Length < 0 || Blocks(o.Length) > int64(len(sums)/16) {
			return nil, false
		}
		o.Blocks = make([]Sum, Blocks(o.Length))
		for b := range o.Blocks {
			o.Blocks[b] = Sum(sums[16*b:])
		}
		sums = sums[16*len(o.Blocks):]
	}
	return objects, len(sums) == 0
}
