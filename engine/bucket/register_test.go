package bucket

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

// TestARegisterIsWhatItWas flips every byte of the files that say what consumers
// committed and what tags name.
func TestARegisterIsWhatItWas(t *testing.T) {
	dir, left := furnished(t)
	b := open(t, dir, quiet())
	must(t, b.Commit(`a "name" with <marks>, \u00fc`, 7))
	must(t, b.Close())
	m, err := table.ReadMarker(vfs.OS, dir)
	must(t, err)
	for i, name := range []string{layout.ConsumersFile, table.TagsFile} {
		path := filepath.Join(dir, name)
		read := func() (map[string]int64, error) {
			return []*statefile.Register{layout.Consumers(vfs.OS, dir, m), m.Tags()}[i].All()
		}
		want, err := read()
		must(t, err)
		text, err := os.ReadFile(path)
		must(t, err)
		for at := range text {
			for bit := range 8 {
				changed := bytes.Clone(text)
				changed[at] ^= 1 << bit
				must(t, os.WriteFile(path, changed, 0o600))
				if got, err := read(); err == nil && !maps.Equal(got, want) || err != nil && !errors.Is(err, engine.ErrCorrupt) {
					t.Fatalf("bit %d of byte %d of %s: %v, %v", bit, at, name, got, err)
				}
			}
		}
		unchanged(t, dir, func() {
			if _, err := Open(dir, quiet()); !errors.Is(err, engine.ErrCorrupt) {
				t.Errorf("opened: %v", err)
			}
		})
		must(t, os.WriteFile(path, text, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(dir, layout.ConsumersFile), []byte(`{"trainer": 50}`), 0o600)) // as it once was
	must(t, useAll(dir, left))
}

func TestASalvageForgetsARegister(t *testing.T) {
	dir, _ := furnished(t)
	for _, name := range []string{layout.ConsumersFile, table.TagsFile} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(`{}`), 0o600))
	}
	salvaged := open(t, dir, quiet(func(o *options.Options) { o.WALRecovery = "salvage" }))
	offsets, err := salvaged.Consumers()
	must(t, err)
	if len(offsets) > 0 {
		t.Errorf("offsets %v", offsets)
	}
	must(t, salvaged.Commit("trainer", 3))
	must(t, salvaged.Close())
	b := open(t, dir, quiet())
	if offsets, err := b.Consumers(); err != nil || offsets["trainer"] != 3 {
		t.Errorf("%v, %v", offsets, err)
	}
	if broken, err := filepath.Glob(filepath.Join(dir, "*.broken")); err != nil || len(broken) != 2 {
		t.Errorf("%q, %v", broken, err)
	}
}
