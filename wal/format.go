package wal

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

	headerBytes = 128
	recordBytes = 48
	alignment   = 8

	flagSalvaged = 1 << 0 // offsets and sequence numbers may jump forward in this segment and right after it
	knownFlags   = flagSalvaged

	kindPreamble = 1
	kindEntry    = 2
	kindClosed   = 3 // the log was closed, or recovered up to here; only a kindSealed may follow
	kindSealed   = 4 // the next segment exists; nothing follows
)

var (
	magic      = [8]byte{0x89, 'P', 'W', 'A', 'L', '\r', '\n', 0x1a}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [64 << 10]byte // never written to
	order      = binary.LittleEndian
)

// header is the first 128 bytes of a segment.
type header struct {
	bucket    [16]byte
	sequence  uint64
	base      int64 // first row
	capacity  int64 // size of the file from its creation to its end mark
	prevEnd   int64 // bytes in use in the segment before, 0 when there was none
	prevChain uint32
	salt      uint32
	flags     uint32
}

func (h *header) salvaged() bool { return h.flags&flagSalvaged != 0 }

// largest is more than the file ever has: the capacity includes a preamble and the first end mark, and a second end mark is as
// large as the preamble.
func (h *header) largest() int64 { return h.capacity + h.capacity/2 }

// encode writes h to b and returns its checksum, with which the chain of the segment begins.
func (h *header) encode(b []byte) uint32 {
	b = b[:headerBytes]
	clear(b)
	copy(b, magic[:])
	order.PutUint32(b[8:], formatVersion)
	copy(b[16:], h.bucket[:])
	order.PutUint64(b[32:], h.sequence)
	order.PutUint64(b[40:], uint64(h.base))
	order.PutUint64(b[48:], uint64(h.capacity))
	order.PutUint64(b[56:], uint64(h.prevEnd))
	order.PutUint32(b[64:], h.prevChain)
	order.PutUint32(b[68:], h.salt)
	order.PutUint32(b[72:], h.flags)
	sum := headerSum(b)
	order.PutUint32(b[12:], sum)
	return sum
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerBytes])
}

// decodeHeader returns what b holds. Magic, version and checksum have the same place in every version, so that a segment of a
// later version is told apart from a damaged one.
func decodeHeader(b []byte) (header, uint32, error) {
	if len(b) < headerBytes {
		return header{}, 0, corrupt("shorter than a segment header")
	}
	b = b[:headerBytes]
	if !bytes.Equal(b[:8], magic[:]) {
		return header{}, 0, corrupt("not the first bytes of a segment")
	}
	sum := headerSum(b)
	if sum != order.Uint32(b[12:]) {
		return header{}, 0, corrupt("checksum of the segment header")
	}
	if v := order.Uint32(b[8:]); v != formatVersion {
		return header{}, 0, fmt.Errorf("%w %d, this is version %d", ErrUnsupportedVersion, v, formatVersion)
	}
	h := header{
		bucket:    [16]byte(b[16:32]),
		sequence:  order.Uint64(b[32:]),
		base:      int64(order.Uint64(b[40:])),
		capacity:  int64(order.Uint64(b[48:])),
		prevEnd:   int64(order.Uint64(b[56:])),
		prevChain: order.Uint32(b[64:]),
		salt:      order.Uint32(b[68:]),
		flags:     order.Uint32(b[72:]),
	}
	if h.flags&^knownFlags != 0 {
		return header{}, 0, fmt.Errorf("%w: flags %#x", ErrUnsupportedVersion, h.flags)
	}
	if h.base < 0 || h.capacity < 0 || h.largest() < 0 || h.prevEnd < 0 {
		return header{}, 0, corrupt("number out of range in the segment header")
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
	b = b[:recordBytes]
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
	return crc32.Update(uint32(pos/alignment), castagnoli, b[4:recordBytes])
}

// decodeRecord returns the head that b holds, and whether it is one that was written at byte pos of a segment with that salt.
func decodeRecord(b []byte, pos int64, salt uint32) (record, bool) {
	if order.Uint32(b[8:]) != salt {
		return record{}, false
	}
	return decodeUnsalted(b, pos)
}

func decodeUnsalted(b []byte, pos int64) (record, bool) {
	b = b[:recordBytes]
	r := record{
		sum:     order.Uint32(b),
		body:    order.Uint32(b[4:]),
		kind:    order.Uint32(b[12:]),
		length:  int64(order.Uint64(b[16:])),
		first:   int64(order.Uint64(b[24:])),
		rows:    int64(order.Uint64(b[32:])),
		promise: int64(order.Uint64(b[40:])),
	}
	if r.kind < kindPreamble || r.kind > kindSealed || r.sum != recordSum(b, pos) {
		return record{}, false
	}
	ok := r.length >= 0 && r.first >= 0 && r.rows >= 0 && r.first <= math.MaxInt64-r.rows &&
		(r.rows > 0) == (r.kind == kindEntry) && r.promise >= 0 && r.promise <= pos
	return r, ok
}

// extend returns the checksum over all heads up to and with the one whose sum is given, as its four bytes on disk.
func extend(chain uint32, sum []byte) uint32 { return crc32.Update(chain, castagnoli, sum[:4]) }

// padding returns the number of zeros that follow a payload.
func padding(length int64) int64 { return -length & (alignment - 1) }

// span returns the bytes that a record with that payload takes.
func span(length int64) int64 { return recordBytes + length + padding(length) }

// bodySum returns the checksum of one payload with its padding.
func bodySum(payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(payload, castagnoli), castagnoli, zeros[:padding(int64(len(payload)))])
}

// marker returns a whole end mark that stands at byte pos; first is the row that would come next. It repeats the preamble, so
// that the entries can be read when the front of the segment is damaged.
func marker(kind uint32, pos, first int64, salt uint32, preamble []byte) []byte {
	b := make([]byte, span(int64(len(preamble))))
	copy(b[recordBytes:], preamble)
	r := record{kind: kind, length: int64(len(preamble)), first: first, body: bodySum(preamble), promise: pos}
	r.encode(b, pos, salt)
	return b
}

func randomSalt() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return order.Uint32(b[:])
}
