package params

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// ident is a random identity of a store, a pack, a manifest or a save.
type ident [16]byte

func newIdent() (id ident) {
	_, _ = rand.Read(id[:]) // never fails: the process would end
	return id
}

func (id ident) String() string { return hex.EncodeToString(id[:]) }

func (id ident) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

func (id *ident) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(id) {
		return fmt.Errorf("%q is no identity", text)
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// parseIdent reads the identity that a file name begins with, which ends as given.
func parseIdent(name, end string) (id ident, ok bool) {
	text, ok := strings.CutSuffix(name, end)
	return id, ok && id.UnmarshalText([]byte(text)) == nil
}

// longestFileName leaves room for what is put behind a name while its file is replaced.
const longestFileName = 240

const catalogEnd = ".cat"

// fileName turns a name into that of its file in the catalog.
func fileName(name string) (string, error) {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() == 0 || b.Len() > longestFileName {
		return "", invalid("the name %.60q is %d bytes long as the name of a file, want 1 to %d", name, b.Len(), longestFileName)
	}
	return b.String() + catalogEnd, nil
}

// nameOf is the name that a file of the catalog is of; false for a file that is none, as one that is being written.
func nameOf(file string) (string, bool) {
	text, ok := strings.CutSuffix(file, catalogEnd)
	if !ok {
		return "", false
	}
	name, err := url.PathUnescape(text)
	return name, err == nil
}
