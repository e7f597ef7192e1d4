package content

import (
	"fmt"

	"github.com/persisting/persisting/engine"
)

// ParseNames returns the names that bytes of another process or language hold, one behind the other.
func ParseNames(b []byte) ([]Name, error) {
	if len(b)%NameBytes != 0 {
		return nil, fmt.Errorf("%w: the names of values have %d bytes, want %d for each", engine.ErrInvalid, len(b), NameBytes)
	}
	names := make([]Name, len(b)/NameBytes)
	for i := range names {
		copy(names[i][:], b[i*NameBytes:])
	}
	return names, nil
}
