package params

import (
	"math"
	"unicode/utf8"
)

const (
	maxNameBytes  = 1 << 20
	maxDTypeBytes = 64
	maxDims       = 255
)

// Tensor is what is saved: bytes with a name, a tag and a shape. The memory must stay as it is until Save has returned.
type Tensor struct {
	Name  string
	DType string
	Shape []int64
	Data  []byte
	Tie   uint32 // the same for tensors that are one in memory, 0 for all others
}

func (t *Tensor) check() error {
	elements := int64(1)
	for _, n := range t.Shape {
		if n < 0 || n > 0 && elements > math.MaxInt64/n {
			return invalid("tensor %q: there is no shape %v", t.Name, t.Shape)
		}
		elements *= n
	}
	size := int64(len(t.Data))
	switch {
	case len(t.Name) > maxNameBytes || !utf8.ValidString(t.Name):
		return invalid("tensor %.60q: want a name of valid UTF-8 with at most %d bytes", t.Name, maxNameBytes)
	case t.DType == "" || len(t.DType) > maxDTypeBytes || !printable(t.DType):
		return invalid("tensor %q: the dtype %.80q is none, want 1 to %d printable characters", t.Name, t.DType, maxDTypeBytes)
	case len(t.Shape) > maxDims:
		return invalid("tensor %q: %d dimensions, want at most %d", t.Name, len(t.Shape), maxDims)
	case elements == 0 && size != 0, elements > 0 && (size == 0 || size > math.MaxInt64/8 || 8*size%elements != 0):
		return invalid("tensor %q: %d bytes cannot be %v elements of %s", t.Name, size, t.Shape, t.DType)
	}
	return nil
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
