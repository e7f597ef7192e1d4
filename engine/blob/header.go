package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// PageBytes is the unit in which segments are filled, and that in which disks and processors move memory.
const PageBytes = 4096

const (
	// What follows never changes.
	segmentMagic = "\x89PBSG\r\n\x1a"
	blockMagic   = "\x89PBLK\r\n\x1a"
	deadMark     = "\x89PDEL\r\n\x1a"

	version     = 1
	headerBytes = 64
	deadAt      = PageBytes - len(deadMark)

	// MaxNamesBytes bounds a key, its namespace and its salt together: they stand in the page before the payload.
	MaxNamesBytes = deadAt - headerBytes

	flagPinned = 1
)

// ErrBlock is returned where a block is not, or not soundly, what was asked for.
var ErrBlock = errors.New("blob: block is not sound")

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// Identity tells the segments of one store from those of another.
type Identity [16]byte

// Header is what stands before a payload. Epoch, Slot and Page are filled in by the segment, Sum and Length by its Write.
type Header struct {
	Epoch, Sequence uint64
	Written         int64 // Unix nanoseconds
	Slot, Page      uint32
	Length, Sum     uint32
	Expires         uint32 // Unix seconds; 0 is never
	Pinned          bool
	Dead            bool // it was replaced or deleted
	Namespace, Salt string
	Key             []byte
}

// encode writes the header into a page, whose rest it clears.
func (h *Header) encode(page []byte, id Identity) {
	clear(page)
	copy(page, blockMagic)
	le.PutUint32(page[12:], h.Sum)
	le.PutUint64(page[16:], h.Epoch)
	le.PutUint64(page[24:], h.Sequence)
	le.PutUint64(page[32:], uint64(h.Written))
	le.PutUint32(page[40:], h.Slot)
	le.PutUint32(page[44:], h.Page)
	le.PutUint32(page[48:], h.Length)
	le.PutUint32(page[52:], h.Expires)
	le.PutUint16(page[56:], uint16(len(h.Namespace)))
	le.PutUint16(page[58:], uint16(len(h.Salt)))
	le.PutUint16(page[60:], uint16(len(h.Key)))
	if h.Pinned {
		page[62] = flagPinned
	}
	end := headerBytes
	end += copy(page[end:], h.Namespace)
	end += copy(page[end:], h.Salt)
	end += copy(page[end:], h.Key)
	// Begun with the identity, so that a block of another store is none of this one's, wherever its
	// bytes came from.
	le.PutUint32(page[8:], headerSum(page[:end], id))
}

func headerSum(used []byte, id Identity) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, used[12:])
}

// sizes returns the lengths of namespace and salt and where the key ends; false where they cannot be.
func sizes(page []byte) (namespace, salt, end int, ok bool) {
	// Looked at before the checksum, which goes up to the end that they name: a damaged length must
	// not lead out of the page.
	namespace, salt = int(le.Uint16(page[56:])), int(le.Uint16(page[58:]))
	end = headerBytes + namespace + salt + int(le.Uint16(page[60:]))
	return namespace, salt, end, end <= deadAt
}

// decode reads a header; false where there is no sound one.
func decode(page []byte, id Identity) (Header, bool) {
	if string(page[:8]) != blockMagic {
		return Header{}, false
	}
	namespace, salt, end, ok := sizes(page)
	if !ok || headerSum(page[:end], id) != le.Uint32(page[8:]) {
		return Header{}, false
	}
	names := page[headerBytes:end]
	return Header{
		Sum:       le.Uint32(page[12:]),
		Epoch:     le.Uint64(page[16:]),
		Sequence:  le.Uint64(page[24:]),
		Written:   int64(le.Uint64(page[32:])),
		Slot:      le.Uint32(page[40:]),
		Page:      le.Uint32(page[44:]),
		Length:    le.Uint32(page[48:]),
		Expires:   le.Uint32(page[52:]),
		Namespace: string(names[:namespace]),
		Salt:      string(names[namespace : namespace+salt]),
		Key:       append([]byte{}, names[namespace+salt:]...),
		Pinned:    page[62]&flagPinned != 0,
		Dead:      string(page[deadAt:]) == deadMark,
	}, true
}

// Want is what a reader expects of a block.
type Want struct {
	Page, Length uint32
	Namespace    string
	Key          []byte
}

// whole compares a header with what is wanted of it, without making anything of it.
func whole(page []byte, id Identity, w Want) (sum uint32, err error) {
	if string(page[:8]) != blockMagic {
		return 0, fmt.Errorf("%w: there is no header", ErrBlock)
	}
	namespace, salt, end, ok := sizes(page)
	if !ok || headerSum(page[:end], id) != le.Uint32(page[8:]) {
		return 0, fmt.Errorf("%w: header does not have its checksum", ErrBlock)
	}
	names := page[headerBytes:end]
	switch {
	case le.Uint32(page[48:]) != w.Length:
		return 0, fmt.Errorf("%w: length is %d, want %d", ErrBlock, le.Uint32(page[48:]), w.Length)
	case string(names[:namespace]) != w.Namespace || string(names[namespace+salt:]) != string(w.Key):
		return 0, fmt.Errorf("%w: it is that of another key", ErrBlock)
	case string(page[deadAt:]) == deadMark:
		return 0, fmt.Errorf("%w: it was replaced or deleted", ErrBlock)
	}
	return le.Uint32(page[12:]), nil
}
