package lance

// #include "utf8.h"
import "C"

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// validUTF8 does what utf8.Valid does, which takes a branch for each rune: 0.5 to 1
// GB/s where text is not ASCII. This takes a few instructions for 16 bytes: 4 to 6 GB/s.
func validUTF8(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	switch C.utf8_valid((*C.uchar)(unsafe.Pointer(&text[0])), C.int64_t(len(text))) {
	case 0:
		return false
	case 1:
		return true
	}
	return utf8.Valid(text)
}

const highBits = 0x8080808080808080

// isASCII goes over 64 bytes at a time.
func isASCII(b []byte) bool {
	for ; len(b) >= 64; b = b[64:] {
		w := b[:64]
		all := binary.LittleEndian.Uint64(w) | binary.LittleEndian.Uint64(w[8:]) |
			binary.LittleEndian.Uint64(w[16:]) | binary.LittleEndian.Uint64(w[24:]) |
			binary.LittleEndian.Uint64(w[32:]) | binary.LittleEndian.Uint64(w[40:]) |
			binary.LittleEndian.Uint64(w[48:]) | binary.LittleEndian.Uint64(w[56:])
		if all&highBits != 0 {
			return false
		}
	}
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&highBits != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
