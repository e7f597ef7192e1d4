package segment

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// The numbers of the format. None of them ever changes: another layout gets another version.
const (
	formatVersion = 1

	// HeaderBytes is the size of a segment's header, RecordBytes that of a record's head.
	HeaderBytes = 128
	RecordBytes = 48

	alignment = 8

	// FlagSalvaged says that offsets and sequence numbers may jump forward in this segment and right after it.
	FlagSalvaged = 1 << 0
	knownFlags   = FlagSalvaged

	kindPreamble = 1
	kindEntry    = 2
)

// Kind says what an end mark means.
type Kind uint32

const (
	// Closed ends a segment up to which its owner was closed or recovered; only a Sealed may follow.
	Closed Kind = 3
	// Sealed ends a segment after which the next one exists; nothing follows.
	Sealed Kind = 4
)

var (
	magic      = [8]byte{0x89, 'P', 'W', 'A', 'L', '\r', '\n', 0x1a}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [64 << 10]byte // never written to
	order      = binary.LittleEndian
)

// Header is the first 128 bytes of a segment.
type Header struct {
	Bucket    [16]byte
	Sequence  uint64
	Base      int64 // first row
	Capacity  int64 // size of the file from its creation to its end mark
	PrevEnd   int64 // bytes in use in the segment before, 0 when there was none
	PrevChain uint32
	Salt      uint32
	Flags     uint32
}

// Salvaged reports whether the segment was made by a salvage.
func (h *Header) Salvaged() bool { return h.Flags&FlagSalvaged != 0 }

// Largest is more than the file ever has: the capacity includes a preamble and the first end mark, and a second end mark is as
// large as the preamble.
func (h *Header) Largest() int64 { return h.Capacity + h.Capacity/2 }

// encode writes h to b and returns its checksum, with which the chain of the segment begins.
func (h *Header) encode(b []byte) uint32 {
	b = b[:HeaderBytes]
	clear(b)
	// A byte that is no text first, and both line ends: a transfer that took the file for text has
	// changed it.
	copy(b, magic[:])
	order.PutUint32(b[8:], formatVersion)
	copy(b[16:], h.Bucket[:])
	order.PutUint64(b[32:], h.Sequence)
	order.PutUint64(b[40:], uint64(h.Base))
	order.PutUint64(b[48:], uint64(h.Capacity))
	order.PutUint64(b[56:], uint64(h.PrevEnd))
	order.PutUint32(b[64:], h.PrevChain)
	order.PutUint32(b[68:], h.Salt)
	order.PutUint32(b[72:], h.Flags)
	sum := headerSum(b)
	order.PutUint32(b[12:], sum)
	return sum
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:HeaderBytes])
}

// decodeHeader returns what b holds. Magic, version and checksum have the same place in every version, so that a segment of a
// later version is told apart from a damaged one.
func decodeHeader(b []byte) (Header, uint32, error) {
	if len(b) < HeaderBytes {
		return Header{}, 0, Corrupt("shorter than a segment header")
	}
	b = b[:HeaderBytes]
	if !bytes.Equal(b[:8], magic[:]) {
		return Header{}, 0, Corrupt("not the first bytes of a segment")
	}
	sum := headerSum(b)
	// Before the version, as a damaged byte of it must not be taken for that of a later program.
	if sum != order.Uint32(b[12:]) {
		return Header{}, 0, Corrupt("checksum of the segment header")
	}
	if v := order.Uint32(b[8:]); v != formatVersion {
		return Header{}, 0, fmt.Errorf("%w %d, this is version %d", ErrUnsupportedVersion, v, formatVersion)
	}
	h := Header{
		Bucket:    [16]byte(b[16:32]),
		Sequence:  order.Uint64(b[32:]),
		Base:      int64(order.Uint64(b[40:])),
		Capacity:  int64(order.Uint64(b[48:])),
		PrevEnd:   int64(order.Uint64(b[56:])),
		PrevChain: order.Uint32(b[64:]),
		Salt:      order.Uint32(b[68:]),
		Flags:     order.Uint32(b[72:]),
	}
	// A later version may have said something with it that changes what the records mean.
	if h.Flags&^knownFlags != 0 {
		return Header{}, 0, fmt.Errorf("%w: flags %#x", ErrUnsupportedVersion, h.Flags)
	}
	if h.Base < 0 || h.Capacity < 0 || h.Largest() < 0 || h.PrevEnd < 0 {
		return Header{}, 0, Corrupt("number out of range in the segment header")
	}
	return h, sum, nil
}

// record is the head of a preamble, an entry or an end mark.
type record struct {
	sum     uint32 // of the head, begun at the record's place in the file
	body    uint32 // checksum of the payload and its padding
	kind    uint32
	length  int64 // of the payload, without padding
	first   int64
	rows    int64
	promise int64 // everything in the file below this byte was on disk when the record was written
}

// encode writes the head of r, which stands at byte pos of the file, to b and sets r.sum.
func (r *record) encode(b []byte, pos int64, salt uint32) {
	b = b[:RecordBytes]
	order.PutUint32(b[4:], r.body)
	order.PutUint32(b[8:], salt)
	order.PutUint32(b[12:], r.kind)
	order.PutUint64(b[16:], uint64(r.length))
	order.PutUint64(b[24:], uint64(r.first))
	order.PutUint64(b[32:], uint64(r.rows))
	order.PutUint64(b[40:], uint64(r.promise))
	r.sum = recordSum(b, pos)
	order.PutUint32(b, r.sum)
}

// recordSum begins with the place, so that a record that was copied to another place is never valid there.
func recordSum(b []byte, pos int64) uint32 {
	return crc32.Update(uint32(pos/alignment), castagnoli, b[4:RecordBytes])
}

// decodeRecord returns the head that b holds, and whether it is one that was written at byte pos of a segment with that salt.
func decodeRecord(b []byte, pos int64, salt uint32) (record, bool) {
	// What lay on the disk before the file was made can be a record of another segment: its sum is
	// right at the same place, and its salt is not.
	if order.Uint32(b[8:]) != salt {
		return record{}, false
	}
	return decodeUnsalted(b, pos)
}

// decodeUnsalted is decodeRecord where the salt is not known, because the header that has it is damaged.
func decodeUnsalted(b []byte, pos int64) (record, bool) {
	b = b[:RecordBytes]
	r := record{
		sum:     order.Uint32(b),
		body:    order.Uint32(b[4:]),
		kind:    order.Uint32(b[12:]),
		length:  int64(order.Uint64(b[16:])),
		first:   int64(order.Uint64(b[24:])),
		rows:    int64(order.Uint64(b[32:])),
		promise: int64(order.Uint64(b[40:])),
	}
	if r.kind < kindPreamble || r.kind > uint32(Sealed) || r.sum != recordSum(b, pos) {
		return record{}, false
	}
	// A sum says that the bytes are those that were written, and not that they make sense; what
	// follows is taken for a size and added up.
	ok := r.length >= 0 && r.first >= 0 && r.rows >= 0 && r.first <= math.MaxInt64-r.rows &&
		(r.rows > 0) == (r.kind == kindEntry) && r.promise >= 0 && r.promise <= pos
	return r, ok
}

// extend returns the checksum over all heads up to and with the one whose sum is given, as its four bytes on disk.
func extend(chain uint32, sum []byte) uint32 { return crc32.Update(chain, castagnoli, sum[:4]) }

// padding returns the number of zeros that follow a payload.
func padding(length int64) int64 { return -length & (alignment - 1) }

// Span returns the bytes that a record with a payload of that length takes.
func Span(length int64) int64 { return RecordBytes + length + padding(length) }

// AppendHead appends the space of the head of a record, which [Run.Head] fills in.
func AppendHead(b []byte) []byte { return append(b, zeros[:RecordBytes]...) }

// AppendPadding appends the zeros that follow a payload of that length.
func AppendPadding(b []byte, length int64) []byte { return append(b, zeros[:padding(length)]...) }

// Checksum continues the checksum of a payload, which begins at 0 and ends with the padding.
func Checksum(sum uint32, piece []byte) uint32 { return crc32.Update(sum, castagnoli, piece) }

// bodySum returns the checksum of one payload with its padding.
func bodySum(payload []byte) uint32 {
	return Checksum(crc32.Checksum(payload, castagnoli), zeros[:padding(int64(len(payload)))])
}

// marker returns a whole end mark that stands at byte pos; first is the row that would come next. It repeats the preamble, so
// that the entries can be read when the front of the segment is damaged.
func marker(kind Kind, pos, first int64, salt uint32, preamble []byte) []byte {
	b := make([]byte, Span(int64(len(preamble))))
	copy(b[RecordBytes:], preamble)
	r := record{kind: uint32(kind), length: int64(len(preamble)), first: first, body: bodySum(preamble), promise: pos}
	r.encode(b, pos, salt)
	return b
}

// RandomSalt returns the salt of a new segment.
func RandomSalt() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return order.Uint32(b[:])
}
