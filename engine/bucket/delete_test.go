package bucket

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/options"
)

// wantLeft checks which rows are left, by range, by offset and in runs.
func wantLeft(t testing.TB, b *Bucket, end int64, left ...int64) {
	t.Helper()
	if got := b.Acknowledged(); got != end {
		t.Fatalf("the next row gets offset %d, want %d", got, end)
	}
	c, err := b.Read(0, end+10, false)
	must(t, err)
	var offsets []int64
	for _, r := range c.Offsets() {
		for o := r[0]; o < r[1]; o++ {
			offsets = append(offsets, o)
		}
	}
	if got := ids(t, c, nil); !slices.Equal(got, left) || !slices.Equal(offsets, left) {
		t.Fatalf("rows %v at offsets %v, want %v", got, offsets, left)
	}
	next := end
	for o := end - 1; o >= 0; o-- {
		c, err := b.ReadRun(o, 1000, false)
		if slices.Contains(left, o) {
			got := ids(t, c, err)
			for i, id := range got {
				if id != o+int64(i) {
					t.Fatalf("row %d at offset %d", id, o+int64(i))
				}
			}
			wantGot(t, b, o, 1000, got)
			if stop := o + int64(len(got)); slices.Contains(left, stop) {
				t.Fatalf("a read from offset %d ends at %d, which is left", o, stop)
			}
			one, err := b.Take([]int64{o, o}, false)
			if got := ids(t, one, err); !slices.Equal(got, []int64{o, o}) {
				t.Fatalf("rows %v at offset %d", got, o)
			}
			next = o
			continue
		}
		_, takeErr := b.Take([]int64{o}, false)
		for _, err := range []error{err, takeErr} {
			var removed *engine.RemovedError
			if !errors.As(err, &removed) || !errors.Is(err, engine.ErrNotFound) {
				t.Fatalf("offset %d: %v", o, err)
			}
			if removed.Offset != o || removed.First != next || removed.Left != (next < end) {
				t.Fatalf("offset %d: %+v, want the next at %d", o, removed, next)
			}
		}
	}
	if got, err := b.FirstFrom(0); err != nil || got != next {
		t.Fatalf("first offset %d, %v, want %d", got, err, next)
	}
}

func TestRemovedRowsAreToldFromOthers(t *testing.T) {
	for name, cache := range map[string]int64{"cached": 64 << 20, "from the disk": 0} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bucket")
			o := quiet(func(o *options.Options) { o.CacheBytes = cache })
			b := open(t, dir, o)
			appendRows(t, b, 6)
			must(t, b.Flush())
			wantLeft(t, b, 6, 0, 1, 2, 3, 4, 5)
			appendRows(t, b, 4) // in the tail
			n, err := b.Delete("id in (1, 4, 5, 6, 9)")
			must(t, err)
			if n != 5 {
				t.Fatalf("%d rows removed", n)
			}
			wantLeft(t, b, 10, 0, 2, 3, 7, 8)
			appendRows(t, b, 2)
			wantLeft(t, b, 12, 0, 2, 3, 7, 8, 10, 11)
			n, err = b.TruncateBefore(3)
			must(t, err)
			if n != 2 {
				t.Fatalf("%d rows removed", n)
			}
			wantLeft(t, b, 12, 3, 7, 8, 10, 11)
			must(t, b.Compact())
			wantLeft(t, b, 12, 3, 7, 8, 10, 11)
			b = open(t, crash(t, dir), o)
			wantLeft(t, b, 12, 3, 7, 8, 10, 11)
			_, err = b.TruncateBefore(13)
			if !errors.Is(err, engine.ErrNotFound) {
				t.Fatal(err)
			}
			_, err = b.TruncateBefore(12)
			must(t, err)
			wantLeft(t, b, 12)
			must(t, b.Compact())
			appendRows(t, b, 1)
			wantLeft(t, b, 13, 12)
		})
	}
}

func TestABadFilterRemovesNothing(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	appendRows(t, b, 3)
	for _, filter := range []string{"", "id =", "nope = 1", "id + 1", "text = id ="} {
		_, err := b.Delete(filter)
		var bad *engine.ExpressionError
		if !errors.As(err, &bad) || bad.Expression != filter {
			t.Errorf("%q: %v", filter, err)
		}
	}
	wantLeft(t, b, 3, 0, 1, 2)
	if n, err := b.Delete("id > 99"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := b.Delete("true"); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	wantLeft(t, b, 3)
}

func TestRowsComeWhileOthersAreRemoved(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet(func(o *options.Options) { o.FlushRows = 50; o.CompactFragments = 3 }))
	wait := appendMeanwhile(t, b, 300, 7)
	var removed int64
	for range 20 {
		n, err := b.Delete("id % 3 = 0")
		must(t, err)
		removed += n
	}
	wait()
	n, err := b.Delete("id % 3 = 0")
	must(t, err)
	if removed+n != 700 {
		t.Fatalf("%d rows removed", removed+n)
	}
	c, err := b.Read(0, 1<<40, false)
	for i, id := range ids(t, c, err) {
		if want := int64(i)/2*3 + int64(i)%2 + 1; id != want {
			t.Fatalf("row %d, want %d", id, want)
		}
	}
}

func TestSpaceIsGivenBack(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	for range 4 {
		appendRows(t, b, 20000)
		must(t, b.Flush())
	}
	must(t, b.Compact())
	size := func() (bytes int64) {
		must(t, filepath.WalkDir(b.home.Path, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			bytes += info.Size()
			return err
		}))
		return bytes
	}
	before := size()
	_, err := b.Delete("id % 2 = 0")
	must(t, err)
	must(t, b.Compact())
	half := size()
	if half > before*55/100 {
		t.Fatalf("%d bytes of %d are left of half the rows", half, before)
	}
	must(t, b.Columns().Drop("text"))
	must(t, b.Compact())
	if got := size(); got > half/2 {
		t.Fatalf("%d bytes of %d are left without the texts", got, half)
	}
}
