package lance

import (
	"testing"
	"unsafe"
)

func TestOnlyPointersThatDangleAreRepointed(t *testing.T) {
	var value int64
	sound := uintptr(unsafe.Pointer(&value))
	for _, c := range []struct{ before, after uintptr }{
		{0, 0},
		{1, nothing},
		{8, nothing},
		{0x80, nothing},
		{firstPage - 1, nothing},
		{firstPage, firstPage},
		{sound, sound},
	} {
		address := c.before
		Repoint(unsafe.Pointer(&address), 1)
		if address != c.after {
			t.Errorf("%#x became %#x, want %#x", c.before, address, c.after)
		}
	}
}
