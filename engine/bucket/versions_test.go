package bucket

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
)

func wantView(t testing.TB, v *table.View, want ...int64) {
	t.Helper()
	c, err := v.Read(0, 1<<40, false)
	if got := ids(t, c, err); !slices.Equal(got, want) {
		t.Fatalf("version %d has %v, want %v", v.Number(), got, want)
	}
}

func newestVersion(t testing.TB, b *Bucket) uint64 {
	t.Helper()
	versions, err := b.Versions()
	must(t, err)
	return versions[len(versions)-1].Number
}

func TestVersionsThatAreTaggedOrOpenStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	if versions, err := b.Versions(); err != nil || len(versions) != 0 {
		t.Fatal(versions, err)
	}
	if _, err := b.At(1); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	appendRows(t, b, 2)
	must(t, b.Flush())
	first := newestVersion(t, b)
	must(t, b.Tag("first", first))
	must(t, b.Tag("first", first))
	appendRows(t, b, 1)
	must(t, b.Flush())
	second, err := b.At(newestVersion(t, b))
	must(t, err)
	defer second.Close()
	_, err = b.Delete("id = 1")
	must(t, err)
	must(t, b.Columns().Rename("text", "words"))
	must(t, b.Compact())
	must(t, b.Compact())

	var numbers []uint64
	versions, err := b.Versions()
	must(t, err)
	for _, v := range versions {
		numbers = append(numbers, v.Number)
	}
	if len(numbers) != 3 || numbers[0] != first || numbers[1] != second.Number() {
		t.Fatalf("versions %v are left, want %d, %d and the newest", numbers, first, second.Number())
	}
	if v := versions[0]; v.Rows != 2 || !slices.Equal(v.Tags, []string{"first"}) {
		t.Fatalf("%+v", v)
	}
	tagged, err := b.At(first)
	must(t, err)
	defer tagged.Close()
	wantView(t, tagged, 0, 1)
	wantView(t, second, 0, 1, 2)
	if names := tagged.Schema().Field(1).Name; names != "text" {
		t.Fatalf("an old version has the column %q", names)
	}

	must(t, b.Untag("first"))
	if err := b.Untag("first"); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	must(t, tagged.Close())
	must(t, b.Compact())
	if _, err := b.At(first); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	must(t, b.Close())
	wantView(t, second, 0, 1, 2)
}

func TestTagsAreOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 2)
	must(t, b.Flush())
	version := newestVersion(t, b)
	must(t, b.Tag("v1.0", version))
	appendRows(t, b, 2)
	must(t, b.Flush())
	if err := b.Tag("v1.0", newestVersion(t, b)); !errors.Is(err, engine.ErrName) {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".a", "a.", "a/b", "ä", "a.lock"} {
		if err := b.Tag(name, version); !errors.Is(err, engine.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	left := crash(t, dir)
	// A power failure while a tag is written leaves no half of one.
	must(t, os.WriteFile(filepath.Join(left, "tag.tmp"), []byte("{"), 0o600))
	again := open(t, left, quiet())
	must(t, again.Compact())
	v, err := again.At(version)
	must(t, err)
	defer v.Close()
	wantView(t, v, 0, 1)
}

func TestRestoreGivesNoOffsetAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 4)
	must(t, b.Flush())
	version := newestVersion(t, b)
	must(t, b.Tag("good", version))
	_, err := b.Delete("id = 1")
	must(t, err)
	must(t, b.Columns().Add([]arrow.Field{nullable("x", arrow.PrimitiveTypes.Int64)}))
	appendRows(t, b, 2) // one flushed with the restore, none lost track of
	must(t, b.Compact())
	must(t, b.Restore(version))
	wantLeft(t, b, 6, 0, 1, 2, 3)
	if got := names(b); !slices.Equal(got, []string{"id", "text"}) {
		t.Fatalf("columns %q", got)
	}
	appendRows(t, b, 1)
	wantLeft(t, b, 7, 0, 1, 2, 3, 6)
	b = open(t, crash(t, dir), quiet())
	wantLeft(t, b, 7, 0, 1, 2, 3, 6)
	if err := b.Restore(version + 100); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestConsumersAreOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet(func(o *options.Options) { o.EnableWAL = false }))
	appendRows(t, b, 5)
	if err := b.Commit("a", 6); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	must(t, b.Commit("a", 4))
	must(t, b.Commit("b", 0))
	again := open(t, crash(t, dir), quiet())
	wantRows(t, again, 5)
	all, err := again.Consumers()
	must(t, err)
	if len(all) != 2 || all["a"] != 4 {
		t.Fatal(all)
	}
}

// TestATagIsWrittenAnew loses the file of a tag, then what it named as well.
func TestATagIsWrittenAnew(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	appendRows(t, b, 2)
	must(t, b.Flush())
	version := newestVersion(t, b)
	must(t, b.Tag("good", version))
	appendRows(t, b, 2)
	must(t, b.Flush())
	file := table.TagPath(b.table.Path(), "good")
	text, err := os.ReadFile(file)
	must(t, err)
	for name, damage := range map[string]func(string) error{
		"gone": gone, "empty": asEmpty,
		"another": func(path string) error {
			other := strings.Replace(string(text), fmt.Sprintf(`"version":%d`, version), fmt.Sprintf(`"version":%d`, version+1), 1)
			return os.WriteFile(path, []byte(other), 0o600)
		},
	} {
		must(t, damage(file))
		if err := b.Compact(); !strings.Contains(fmt.Sprint(err), `tag "good"`) {
			t.Errorf("%s: compacted: %v", name, err)
		}
		must(t, b.Close())
		if x := examine(t, b.home.Path); !x.Sound || !slices.ContainsFunc(x.Notes, func(n string) bool { return strings.Contains(n, `tag "good"`) }) {
			t.Errorf("%s: %+v", name, x)
		}
		b = open(t, b.home.Path, quiet())
		must(t, b.Compact())
		v, err := b.At(version)
		must(t, err)
		wantView(t, v, 0, 1)
		must(t, v.Close())
	}
	must(t, b.Close())
	must(t, gone(lance.ManifestPath(b.table.Path(), version)))
	if _, err := Open(b.home.Path, quiet()); !errors.Is(err, engine.ErrCorrupt) || !strings.Contains(err.Error(), `tag "good"`) {
		t.Fatal(err)
	}
	if x := examine(t, b.home.Path); x.Sound {
		t.Errorf("%+v", x)
	}
	done, err := inspect.Repair(b.home.Path, true, Salvage)
	must(t, err)
	if !done.After.Sound || !slices.Contains(done.Steps, `forget the tag "good"`) || len(done.Lost) > 0 {
		t.Fatalf("%+v", done)
	}
	b = open(t, b.home.Path, quiet())
	wantRows(t, b, 4)
	left, err := b.Versions()
	must(t, err)
	for _, v := range left {
		if len(v.Tags) > 0 {
			t.Errorf("%+v", v)
		}
	}
}
