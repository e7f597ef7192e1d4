package statefile

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// present is a Presence in memory.
type present bool

func (p *present) There() bool           { return bool(*p) }
func (p *present) Note(there bool) error { *p = present(there); return nil }

func register(t *testing.T, text string) (*faultfs.Mem, *Register) {
	t.Helper()
	mem := faultfs.NewMem()
	must(t, mem.MkdirAll("/d"))
	if text != "" {
		must(t, WriteText(mem, "/d/consumers.json", []byte(text)))
	}
	there := present(text != "")
	return mem, NewRegister(mem, "/d/consumers.json", "offsets", 0, &there)
}

func TestARegisterThatWasTextIsReplacedAtTheNextChange(t *testing.T) {
	for name, text := range map[string]string{
		"with a checksum":    "{\n  \"crc32c\": \"" + Sum([]byte(`{"trainer":50}`)) + "\",\n  \"numbers\": {\n    \"trainer\": 50\n  }\n}",
		"without a checksum": `{"trainer": 50}`,
	} {
		mem, r := register(t, text)
		if got, err := r.All(); err != nil || !maps.Equal(got, map[string]int64{"trainer": 50}) {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		must(t, r.Change(func(numbers map[string]int64) { numbers["trainer"] = 50 }))
		if whole := contentOf(t, mem); string(whole) != text {
			t.Errorf("%s: a change of nothing made %q of it", name, whole)
		}
		must(t, r.Change(func(numbers map[string]int64) { numbers["eval"] = 7 }))
		if content, err := Read(mem, "/d/consumers.json"); err != nil || string(content) != `{"eval":7,"trainer":50}` {
			t.Errorf("%s: %q, %v", name, content, err)
		}
		there := present(true)
		again := NewRegister(mem, "/d/consumers.json", "offsets", 0, &there)
		if got, err := again.All(); err != nil || !maps.Equal(got, map[string]int64{"trainer": 50, "eval": 7}) {
			t.Errorf("%s: read again: %v, %v", name, got, err)
		}
	}
}

func TestADamagedRegisterIsRefusedWithItsPlace(t *testing.T) {
	mem, r := register(t, "")
	must(t, r.Change(func(numbers map[string]int64) { numbers["trainer"] = 50 }))
	whole := contentOf(t, mem)
	for name, content := range map[string][]byte{
		"a bit":                   bytes.Replace(whole, []byte("50"), []byte("51"), 1),
		"half":                    whole[:len(whole)/2],
		"a head":                  whole[:10],
		"its content alone":       whole[headerBytes:][:len(whole)-headerBytes-1],
		"a checksum that is not":  []byte(`{"crc32c": "00000000", "numbers": {"trainer": 50}}`),
		"no numbers":              []byte(`{}`),
		"a number that cannot be": []byte(`{"trainer": -1}`),
		"too much":                bytes.Repeat([]byte(" "), maxRegisterBytes+1),
	} {
		mem, r := register(t, string(content))
		_, err := r.All()
		if !errors.Is(err, engine.ErrCorrupt) || !strings.Contains(err.Error(), "/d/consumers.json") || !strings.Contains(err.Error(), "offsets") {
			t.Errorf("%s: %v", name, err)
		}
		if got := contentOf(t, mem); !bytes.Equal(got, content) {
			t.Errorf("%s: it was changed", name)
		}
	}
}

func contentOf(t *testing.T, fsys vfs.FS) []byte {
	t.Helper()
	whole, err := Whole(fsys, "/d/consumers.json", maxBytes)
	must(t, err)
	return whole
}
