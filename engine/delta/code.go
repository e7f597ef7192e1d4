package delta

import "errors"

// Code is how a block is told.
type Code uint8

// The codes. None ever changes.
const (
	Same Code = iota
	Raw
	Sparse
	Plane
)

const (
	// escape stands for a difference that is no int8; the new value is beside it.
	escape = 0x80
	// far is the gap that another one follows.
	far = 0xff
)

// ErrPayload is returned for a payload that no [Coder] makes for a block of that length.
var ErrPayload = errors.New("delta: the payload makes no sense")

func check(sense bool) error {
	if !sense {
		return ErrPayload
	}
	return nil
}
