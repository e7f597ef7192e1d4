package bucket

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/retention"
)

// span is the offsets from first to end.
func span(first, end int64) []int64 {
	offsets := []int64{}
	for o := first; o < end; o++ {
		offsets = append(offsets, o)
	}
	return offsets
}

func TestCompactKeepsTheNewestRows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	o := quiet(func(o *options.Options) { o.RetentionRows = 4 })
	b := open(t, dir, o)
	must(t, b.Compact()) // without a row
	appendRows(t, b, 3)
	must(t, b.Compact())
	wantLeft(t, b, 3, 0, 1, 2)
	appendRows(t, b, 9)
	must(t, b.Compact()) // flushes
	wantLeft(t, b, 12, 8, 9, 10, 11)
	_, err := b.Delete("id = 10")
	must(t, err)
	appendRows(t, b, 2)
	must(t, b.Compact())
	wantLeft(t, b, 14, 9, 11, 12, 13)
	if s := b.Stats(); s.Retention.Rows != 9 || s.Retention.Bytes <= 0 || s.FirstOffset != 9 || s.Metrics.RetainRows != 9 {
		t.Fatalf("%+v, first offset %d, %+v", s.Retention, s.FirstOffset, s.Metrics)
	}
	b = open(t, crash(t, dir), o)
	wantLeft(t, b, 14, 9, 11, 12, 13)
	must(t, b.Close())
	b = open(t, b.home.Path, quiet())
	appendRows(t, b, 9)
	must(t, b.Compact())
	wantLeft(t, b, 23, append([]int64{9}, span(11, 23)...)...)
}

func TestRetentionInTheBackground(t *testing.T) {
	const bound, batch = 800, 50
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet(func(o *options.Options) { o.RetentionRows = bound }))
	most := int64(0)
	for range 200 {
		appendRows(t, b, batch)
		must(t, b.Flush())
		s := b.Stats()
		if s.RowCount < min(bound, s.TotalCount) {
			t.Fatalf("%d of %d rows are left", s.RowCount, s.TotalCount)
		}
		most = max(most, s.RowCount)
	}
	eventually(t, "no more than an eighth above the bound", func() bool { return b.Stats().RowCount <= bound+bound/retention.Slack })
	first := b.Stats().FirstOffset
	wantLeft(t, b, 200*batch, span(first, 200*batch)...)
	eventually(t, "the space is given back", func() bool { return dataFiles(t, dir) <= 2*bound/batch })
	if s := b.Stats(); s.Retention.Rows != first {
		t.Fatalf("%+v, and the first row left is %d", s.Retention, first)
	}
	t.Logf("at most %d rows, %d files", most, dataFiles(t, dir))
}

func dataFiles(t testing.TB, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data.lance", "data", "*"))
	must(t, err)
	return len(files)
}

func dataBytes(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data.lance", "data", "*"))
	must(t, err)
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// TestOneLargeFileShrinks is about space inside of files, which is given back when they are
// written anew.
func TestOneLargeFileShrinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 100_000)
	must(t, b.Close())
	before := dataBytes(t, dir)
	b = open(t, dir, quiet(func(o *options.Options) { o.RetentionRows = 10_000 }))
	appendRows(t, b, 1)
	must(t, b.Flush())
	eventually(t, "a tenth of the size", func() bool { return dataBytes(t, dir) < before/5 })
	c, err := b.Read(0, 1<<40, false)
	if got := ids(t, c, err); !slices.Equal(got, span(90_001, 100_001)) {
		t.Fatalf("%d rows are left", len(got))
	}
}

func TestRetentionByBytes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	for range 10 {
		appendRows(t, b, 1000)
		must(t, b.Flush())
	}
	bytes := b.Stats().TableBytes
	must(t, b.Close())
	for range 2 { // the second time nothing is left to do
		b = open(t, dir, quiet(func(o *options.Options) { o.RetentionBytes = bytes / 4 }))
		must(t, b.Compact())
		s := b.Stats()
		if s.FirstOffset < 7000 || s.FirstOffset > 8000 || s.RowCount != 10_000-s.FirstOffset {
			t.Fatalf("%d rows left, the first at %d", s.RowCount, s.FirstOffset)
		}
		if got := dataBytes(t, dir); got > bytes/3 {
			t.Fatalf("%d bytes on disk, the bound is %d", got, bytes/4)
		}
		must(t, b.Close())
	}
}

func TestRetentionByAge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 10)
	must(t, b.Close()) // of whose rows no age is known
	const age = 800 * time.Millisecond
	o := quiet(func(o *options.Options) { o.RetentionAge = age })
	b = open(t, dir, o)
	began := time.Now()
	appendRows(t, b, 10)
	must(t, b.Flush())
	flushed := time.Now()
	wantLeft(t, b, 20, span(0, 20)...)
	b = open(t, crash(t, dir), o)
	eventually(t, "they are removed", func() bool { return b.Stats().RowCount == 0 })
	if took := time.Since(began); took < age {
		t.Fatalf("rows were removed after %v", took)
	}
	if took := time.Since(flushed); took > 2*age {
		t.Errorf("rows were removed after %v", took)
	}
	eventually(t, "no file is left", func() bool { return dataFiles(t, b.home.Path) == 0 })
	appendRows(t, b, 3)
	wantLeft(t, b, 23, 20, 21, 22)
}

func TestDamagedTimesKeepRows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	o := quiet(func(o *options.Options) { o.RetentionAge = time.Hour })
	b := open(t, dir, o)
	appendRows(t, b, 3)
	must(t, b.Close())
	for _, text := range []string{"", "{}", strings.Repeat(" ", 1<<20+1)} {
		must(t, os.WriteFile(filepath.Join(dir, "times.json"), []byte(text), 0o600))
		b = open(t, dir, o)
		must(t, b.Compact())
		wantLeft(t, b, b.Acknowledged(), span(0, b.Acknowledged())...)
		appendRows(t, b, 1)
		must(t, b.Close())
	}
}

func TestReadersInFlightKeepWhatRetentionRemoves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet(func(o *options.Options) { o.RetentionRows, o.CacheBytes = 1000, 0 }))
	appendRows(t, b, 1000)
	must(t, b.Flush())
	c, err := b.Read(0, 1000, false)
	must(t, err)
	must(t, b.Tag("kept", b.Stats().TableVersion))
	appendRows(t, b, 50_000)
	must(t, b.Compact())
	if first := b.Stats().FirstOffset; first != 50_000 {
		t.Fatalf("the first row left is %d", first)
	}
	if got := ids(t, c, nil); !slices.Equal(got, span(0, 1000)) {
		t.Fatalf("a read that had begun found %d rows", len(got))
	}
	var removed *engine.RemovedError
	if _, err := b.ReadRun(0, 10, false); !errors.As(err, &removed) || removed.First != 50_000 {
		t.Fatal(err)
	}
	must(t, b.Compact())
	view, err := b.At(versionTagged(t, b, "kept"))
	must(t, err)
	defer view.Close()
	if rows, end := view.Rows(); rows != 1000 || end != 1000 {
		t.Fatalf("the tagged version has %d rows to %d", rows, end)
	}
}

func versionTagged(t testing.TB, b *Bucket, tag string) uint64 {
	t.Helper()
	versions, err := b.Versions()
	must(t, err)
	for _, v := range versions {
		if slices.Contains(v.Tags, tag) {
			return v.Number
		}
	}
	t.Fatalf("no version is tagged %q", tag)
	return 0
}

// TestRetentionAgainstAModel goes through random appends, flushes, removals, compactions,
// crashes and changes of the bounds, in some buckets with the background at work.
func TestRetentionAgainstAModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			bound := int64(20)
			o := quiet(func(o *options.Options) {
				o.RetentionRows = bound
				o.CacheBytes = int64(seed%2) << 20
				o.CompactFragments = int64(seed%3) * 2
			})
			b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
			var left []int64
			for range 60 {
				exact, before := false, bound
				kept := left[max(0, len(left)-int(bound)):]
				switch r.IntN(7) {
				case 0, 1, 2:
					n := 1 + r.Int64N(12)
					left = append(left, span(b.Acknowledged(), b.Acknowledged()+n)...)
					appendRows(t, b, n)
				case 3:
					must(t, b.Flush())
				case 4:
					digit := r.Int64N(10)
					_, err := b.Delete("id % 10 = " + strconv.FormatInt(digit, 10))
					must(t, err)
					deleted := func(o int64) bool { return o%10 == digit }
					left, kept = slices.DeleteFunc(slices.Clone(left), deleted), slices.DeleteFunc(slices.Clone(kept), deleted)
				case 5:
					must(t, b.Compact())
					left = left[max(0, len(left)-int(bound)):]
					exact = true
				default:
					bound = 1 + r.Int64N(40)
					o.RetentionRows = bound
					b.table.Reshaping.Lock() // or files would go while they are copied
					b.table.Growing.Lock()
					copied := crash(t, b.home.Path)
					b.table.Growing.Unlock()
					b.table.Reshaping.Unlock()
					b = open(t, copied, o)
				}
				// Meanwhile the background may have removed more, but not too much.
				first := b.Stats().FirstOffset
				kept = kept[max(0, len(kept)-int(min(before, bound))):]
				if len(kept) > 0 && first > kept[0] {
					t.Fatalf("the first row left is %d, want at least those from %d", first, kept[0])
				}
				have := slices.DeleteFunc(slices.Clone(left), func(o int64) bool { return o < first })
				if exact && len(left) > 0 && first != left[0] {
					t.Fatalf("the first row left is %d, want %v", first, left)
				}
				c, err := b.Read(first, 1<<40, false)
				got := ids(t, c, err)
				// The background can remove rows between the two looks.
				if len(got) > len(have) || !slices.Equal(got, have[len(have)-len(got):]) || len(got) < len(kept) {
					t.Fatalf("read %v, want %v", got, have)
				}
				left = slices.Clone(got)
			}
		})
	}
}
