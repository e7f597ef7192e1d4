package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// HeadBytes is the size of a frame without its content.
const HeadBytes = 16

var le = binary.LittleEndian

// ErrProtocol is returned where the other side does not speak the protocol.
var ErrProtocol = errors.New("wire: not the protocol")

// Frame is a request or an answer, without what follows it. Numbers are little-endian:
//
//	length of what follows 4, operation 1, status 1, zero 2, number of the request 8, content
type Frame struct {
	Op, Status uint8
	ID         uint64
	Content    []byte
}

// Encode adds the frame to b.
func (f *Frame) Encode(b []byte) []byte {
	return append(f.Head(b, len(f.Content)), f.Content...)
}

// Head adds to b the frame without its content, which has so many bytes.
func (f *Frame) Head(b []byte, content int) []byte {
	b = le.AppendUint32(b, uint32(HeadBytes-4+content))
	b = append(b, f.Op, f.Status, 0, 0)
	return le.AppendUint64(b, f.ID)
}

// ReadFrame reads one whose content has so many bytes at most. The content is in buffer, which grows.
func ReadFrame(r io.Reader, buffer *[]byte, most int64) (Frame, error) {
	var head [HeadBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := int64(le.Uint32(head[:])) - (HeadBytes - 4)
	if n < 0 || n > most {
		return Frame{}, fmt.Errorf("%w: a frame has %d bytes, want 0 to %d", ErrProtocol, n, most)
	}
	if int64(cap(*buffer)) < n {
		*buffer = make([]byte, n)
	}
	content := (*buffer)[:n]
	if _, err := io.ReadFull(r, content); err != nil {
		return Frame{}, err
	}
	return Frame{Op: head[4], Status: head[5], ID: le.Uint64(head[8:]), Content: content}, nil
}
