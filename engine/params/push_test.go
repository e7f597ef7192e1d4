package params

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// TestPush follows a model in training from store to store: each version comes back with every bit, costs what it changed, and is
// brought once; what the other store has is not brought at all.
func TestPush(t *testing.T) {
	from, to := opened(t, t.TempDir(), nil), opened(t, t.TempDir(), nil)
	h := newHistory(700_000, 3000)
	mustSave(t, from, "m", h.versions[0], fromLatest)
	for range 9 { // beyond a star
		mustSave(t, from, "m", h.step(8), fromLatest)
	}
	var first, last *Entry
	for version := range len(h.versions) {
		last = mustPush(t, from, to, version+1, SaveOptions{})
		if version == 0 {
			first = last
		} else if last.Stored*20 > first.Stored || last.Base != uint64(version) {
			t.Errorf("version %d brought %d bytes, the first %d, and is told from %d", version+1, last.Stored, first.Stored, last.Base)
		}
	}
	h.check(t, to)

	again := mustPush(t, from, to, 3, SaveOptions{Tags: []string{"prod"}})
	n, err := to.Get("m")
	if err != nil || again.Version != 3 || n.Tags["prod"] != 3 || len(n.Versions) != len(h.versions) {
		t.Errorf("a second time: version %d, %+v, %v", again.Version, n, err)
	}
	anew := opened(t, to.dir, nil) // whose handle has brought nothing
	if e := mustPush(t, from, anew, 10, SaveOptions{}); e.Version != 10 {
		t.Errorf("another handle brought it again, as version %d", e.Version)
	}
	v, err := from.Open("m", "10")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	e, err := v.Push(from, "copy", SaveOptions{})
	if err != nil || e.Stored > 1<<14 || e.Tensors != last.Tensors || e.Bytes != last.Bytes {
		t.Errorf("a copy in the same store: %+v, %v", e, err)
	}
	for _, s := range []*Store{from, to} {
		if r, err := s.Verify(""); err != nil || !r.Sound {
			t.Errorf("%+v, %v", r, err)
		}
		if c, err := s.Collect(); err != nil || c.Packs+c.Manifests+c.Staged != 0 {
			t.Errorf("something was left: %+v, %v", c, err)
		}
	}
}

func mustPush(t *testing.T, from, to *Store, version int, o SaveOptions) *Entry {
	t.Helper()
	v, err := from.Open("m", fmt.Sprint(version))
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Push(to, "m", o)
	if err = errors.Join(err, v.Close()); err != nil {
		t.Fatalf("version %d: %v", version, err)
	}
	return e
}

// TestPushOfOne brings a version of the middle of a chain: all that it needs comes with it, and steps behind it find it.
func TestPushOfOne(t *testing.T) {
	from, to := opened(t, t.TempDir(), nil), opened(t, t.TempDir(), nil)
	h := newHistory(400_000)
	mustSave(t, from, "m", h.versions[0], SaveOptions{Base: Latest, Metadata: []byte(`{"step":0}`)})
	for range 4 {
		mustSave(t, from, "m", h.step(8), SaveOptions{Base: Latest, Metadata: []byte(`{"step":1}`)})
	}
	for number, version := range []int{4, 5} {
		e := mustPush(t, from, to, version, SaveOptions{})
		if e.Version != uint64(number+1) || string(e.Metadata) != `{"step":1}` || e.Base != uint64(number) {
			t.Errorf("%+v", e)
		}
		found, err := loadAll(to, "m", Latest)
		if err == nil {
			err = differs(found, h.versions[version-1])
		}
		if err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// TestPushOfDamage leaves nothing where a bit of what is to be brought is another, and says where that is.
func TestPushOfDamage(t *testing.T) {
	from, to := opened(t, t.TempDir(), nil), opened(t, t.TempDir(), nil)
	mustSave(t, from, "m", newHistory(700_000).versions[0], SaveOptions{})
	v, err := from.Open("m", Latest)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	path := from.packPath(v.m.packs[0])
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[900_000] ^= 4
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = v.Push(to, "m", SaveOptions{})
	wantContains(t, err, path, "not those that were written")
	if len(filesIn(t, to, packs))+len(filesIn(t, to, manifests))+len(filesIn(t, to, leases)) != 0 {
		t.Errorf("files were left: %v, %v", filesIn(t, to, packs), filesIn(t, to, manifests))
	}
	if _, err := to.Get("m"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
