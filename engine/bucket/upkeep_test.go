package bucket

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/persisting/persisting/engine/options"
)

// sized makes a table whose fragments have so many rows each.
func sized(t *testing.T, b *Bucket, rows ...int64) {
	t.Helper()
	for _, n := range rows {
		appendRows(t, b, n)
		must(t, b.Flush())
	}
}

// manifests are the sizes of the manifests of a bucket's table.
func manifests(t *testing.T, b *Bucket) (sizes []int64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(b.table.Path(), "_versions", "*.manifest"))
	must(t, err)
	for _, path := range paths {
		info, err := os.Stat(path)
		must(t, err)
		sizes = append(sizes, info.Size())
	}
	return sizes
}

// TestFragmentsThatStay holds that fragments too different to be merged do not
// make every flush try it anew.
func TestFragmentsThatStay(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CompactFragments = 4 }))
	sized(t, b, 80_000, 20_000, 5_000, 1_200)
	b.upkeep.doDue()
	if n := b.Stats().Metrics.CompactionCount; n != 1 || b.Stats().Fragments != 4 {
		t.Fatalf("%d compactions left %d fragments", n, b.Stats().Fragments)
	}
	b.upkeep.doDue()
	sized(t, b, 1)
	b.upkeep.doDue()
	if n := b.Stats().Metrics.CompactionCount; n != 1 {
		t.Fatalf("%d compactions, one flush after the first", n)
	}
	sized(t, b, 1)
	b.upkeep.doDue()
	if n := b.Stats().Metrics.CompactionCount; n != 2 {
		t.Fatalf("%d compactions, two flushes after the first", n)
	}
}

// TestVersionsAreRemoved holds that changes which make no fragments do not leave
// versions for ever, and that one that is read stays, alone.
func TestVersionsAreRemoved(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CompactFragments = 4 }))
	sized(t, b, 100)
	old, err := b.At(b.Stats().TableVersion)
	must(t, err)
	defer func() { must(t, old.Close()) }()
	for range 40 {
		_, err := b.TruncateBefore(b.Stats().FirstOffset + 1)
		must(t, err)
		b.upkeep.doDue()
	}
	if n := len(manifests(t, b)); n > 4*4+2 {
		t.Fatalf("%d versions", n)
	}
	c, err := old.Read(0, 100, false)
	if got := ids(t, c, err); len(got) != 100 {
		t.Fatalf("%d rows in the old version", len(got))
	}
}

// TestManySmallFlushes holds that what a flush leaves does not add up.
func TestManySmallFlushes(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CompactFragments = 8 }))
	flush := func(times int) (largest int64) {
		for range times {
			sized(t, b, 1)
			b.upkeep.doDue()
			if n := b.Stats().Fragments; n > 16 {
				t.Fatalf("%d fragments", n)
			}
		}
		for _, size := range manifests(t, b) {
			largest = max(largest, size)
		}
		return largest
	}
	few, many := flush(60), flush(240)
	if many > few*3/2 {
		t.Errorf("the manifest has %d bytes after 60 flushes, %d after 300", few, many)
	}
	files, err := filepath.Glob(filepath.Join(b.table.Path(), "*", "*"))
	must(t, err)
	if len(files) > 4*4*8 {
		t.Errorf("%d files", len(files))
	}
	wantRows(t, b, 300)
}
