package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
)

// filled makes a store in a directory, with the keys and values that it returns, and closes it.
func filled(t *testing.T, dir string, clean bool) map[string][]byte {
	t.Helper()
	s := open(t, dir, tiny(vfs.OS))
	values := map[string][]byte{}
	put := func(key string, n, length int) {
		values[key] = payload(key, n, length)
		if r := set(t, s, 0, key, values[key]); r != transfer.OK {
			t.Fatalf("set: result %d", r)
		}
	}
	if _, err := s.Space("", ""); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		put(fmt.Sprintf("key %d", i), 1, 3000*i)
	}
	s.keepUp()
	if err := s.checkpoint(false); err != nil {
		t.Fatal(err)
	}
	put("key 3", 2, 9000)
	put("key 4", 2, 100)
	put("later", 1, 20000)
	if _, err := s.Delete(0, []byte("key 5")); err != nil {
		t.Fatal(err)
	}
	delete(values, "key 5")
	if !clean {
		s.abandon()
		if err := s.release(); err != nil {
			t.Fatal(err)
		}
		return values
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return values
}

// images are the contents of the files of a directory.
func images(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := vfs.OS.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		if all[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func restore(t *testing.T, dir string, all map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reopened opens a damaged store and returns the keys that are missing; what is there must be right.
func reopened(t *testing.T, dir, what string, values map[string][]byte) (missing []string) {
	t.Helper()
	s, err := Open(dir, tiny(vfs.OS))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	if _, err := s.Space("", ""); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		key := fmt.Sprintf("key %d", i)
		if i == 8 {
			key = "later"
		}
		switch got := get(t, s, 0, key); {
		case got == nil && values[key] != nil:
			missing = append(missing, key)
		case got != nil && !bytes.Equal(got, values[key]):
			t.Fatalf("%s: %s holds %.30q, want %.30q", what, key, got, values[key])
		}
	}
	return missing
}

// TestEveryFlip turns a bit of each byte of each file, one at a time: a flip in a block costs that block, one elsewhere nothing.
func TestEveryFlip(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "kv")
		values := filled(t, dir, clean)
		all := images(t, dir)
		for name, content := range all {
			if name == "LOCK" {
				continue
			}
			for _, at := range flips(name, content) {
				changed := bytes.Clone(content)
				changed[at] ^= 0x10
				restore(t, dir, all)
				if err := os.WriteFile(filepath.Join(dir, name), changed, 0o644); err != nil {
					t.Fatal(err)
				}
				missing := reopened(t, dir, fmt.Sprintf("clean %v, %s, byte %d", clean, name, at), values)
				if most := map[bool]int{true: 1}[strings.HasSuffix(name, ".seg")]; len(missing) > most {
					t.Fatalf("clean %v, %s, byte %d: %q are missing", clean, name, at, missing)
				}
			}
		}
	}
}

// flips are the places of a file that are tried: all, or of a large one some.
func flips(name string, content []byte) (places []int) {
	rng := rand.New(rand.NewPCG(uint64(len(content)), uint64(len(name))))
	step, pages := 1+len(content)/12, 4
	if slow() {
		pages = 1
		step = 1
		if strings.HasSuffix(name, ".seg") {
			step = 23 // of pages that are alike
		}
	}
	for at := rng.IntN(step); at < len(content); at += 1 + rng.IntN(2*step-1) {
		places = append(places, at)
	}
	if strings.HasSuffix(name, ".seg") {
		for page := 4096 * rng.IntN(pages); page < len(content); page += 4096 * pages {
			places = append(places, page+rng.IntN(80))
		}
	}
	return places
}

// TestEveryCut shortens each file: opening works, and what was not in the part that is gone is there.
func TestEveryCut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kv")
	values := filled(t, dir, false)
	all := images(t, dir)
	for name, content := range all {
		if name == "LOCK" {
			continue
		}
		for _, at := range append(flips(name, content), 0, len(content)-1) {
			restore(t, dir, all)
			if err := os.Truncate(filepath.Join(dir, name), int64(at)); err != nil {
				t.Fatal(err)
			}
			missing := reopened(t, dir, fmt.Sprintf("%s, cut to %d", name, at), values)
			if len(missing) > 0 && !strings.HasSuffix(name, ".seg") {
				t.Fatalf("%s, cut to %d: %q are missing", name, at, missing)
			}
		}
	}
}

// TestFilesThatAreGone removes each file.
func TestFilesThatAreGone(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "kv")
		values := filled(t, dir, clean)
		all := images(t, dir)
		for name := range all {
			restore(t, dir, all)
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			missing := reopened(t, dir, name+" removed", values)
			if len(missing) > 0 && !strings.HasSuffix(name, ".seg") {
				t.Fatalf("clean %v, %s removed: %q are missing", clean, name, missing)
			}
		}
	}
}
