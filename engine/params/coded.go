package params

import (
	"encoding/binary"

	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/zeebo/xxh3"
)

const (
	// What follows never changes.
	codedMagic      = "\x89PDLT\r\n\x1a"
	codedVersion    = 1
	codedHeadBytes  = 32
	codedEntryBytes = 48
)

// codedBlock is how a block of an object became that of the next one.
type codedBlock struct {
	code         delta.Code
	offset       int64 // of the payload in the coded object
	length       int64
	check        uint64 // checksum of the payload
	base, target pack.Sum
	payload      []byte // while it is made
}

// coded is the head of a coded object: what a layer does to each block.
type coded struct {
	width  int   // bytes of an element
	length int64 // of the object that it makes
	blocks []codedBlock
}

// headBytes is how long the head of a coded object is, for an object of a length.
func headBytes(length int64) int64 { return codedHeadBytes + codedEntryBytes*pack.Blocks(length) }

// encode is the whole coded object.
func (c *coded) encode() []byte {
	size := headBytes(c.length)
	for i := range c.blocks {
		size += int64(len(c.blocks[i].payload))
	}
	whole := make([]byte, codedHeadBytes, size)
	copy(whole, codedMagic)
	binary.LittleEndian.PutUint32(whole[8:], codedVersion)
	binary.LittleEndian.PutUint32(whole[12:], uint32(c.width))
	binary.LittleEndian.PutUint64(whole[16:], uint64(c.length))
	for i := range c.blocks {
		b := &c.blocks[i]
		whole = binary.LittleEndian.AppendUint32(whole, uint32(b.code))
		whole = binary.LittleEndian.AppendUint32(whole, uint32(len(b.payload)))
		whole = binary.LittleEndian.AppendUint64(whole, xxh3.Hash(b.payload))
		whole = append(append(whole, b.base[:]...), b.target[:]...)
	}
	binary.LittleEndian.PutUint64(whole[24:], codedSum(whole))
	for i := range c.blocks {
		whole = append(whole, c.blocks[i].payload...)
	}
	return whole
}

// codedSum is the checksum of a head, of all but itself.
func codedSum(head []byte) uint64 {
	hash := xxh3.New()
	_, _ = hash.Write(head[:24]) // never fails
	_, _ = hash.Write(head[codedHeadBytes:])
	return hash.Sum64()
}

// parseCoded reads the head of a coded object that makes an object of a length; what is wrong with it is the second result.
func parseCoded(head []byte, length int64) (*coded, string) {
	switch {
	case string(head[:8]) != codedMagic:
		return nil, "there is no coded object"
	case codedSum(head) != binary.LittleEndian.Uint64(head[24:]):
		return nil, "the head of a coded object does not have its checksum"
	case binary.LittleEndian.Uint32(head[8:]) != codedVersion:
		return nil, "a coded object has a format version that this program does not know"
	}
	c := &coded{width: int(binary.LittleEndian.Uint32(head[12:])), length: int64At(head[16:]), blocks: make([]codedBlock, pack.Blocks(length))}
	if c.length != length {
		return nil, "a coded object makes an object of another length"
	}
	at := int64(len(head))
	for i := range c.blocks {
		entry := head[codedHeadBytes+codedEntryBytes*i:]
		b := &c.blocks[i]
		b.code, b.length = delta.Code(entry[0]), int64(binary.LittleEndian.Uint32(entry[4:]))
		b.check, b.base, b.target = binary.LittleEndian.Uint64(entry[8:]), sumAt(entry[16:]), sumAt(entry[32:])
		b.offset = at
		at += b.length
	}
	return c, ""
}

// identities are those of the objects that it leads from and to.
func (c *coded) identities() (base, target pack.Sum) {
	bases, targets := make([]pack.Sum, len(c.blocks)), make([]pack.Sum, len(c.blocks))
	for i := range c.blocks {
		bases[i], targets[i] = c.blocks[i].base, c.blocks[i].target
	}
	return pack.Identify(c.length, bases), pack.Identify(c.length, targets)
}
