package bucket

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"golang.org/x/sys/unix"
)

func openToRead(t testing.TB, dir string) *Bucket {
	t.Helper()
	b, err := OpenReadOnly(dir, options.Default())
	must(t, err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

// told is all that a bucket says of its rows, in words.
func told(b *Bucket) (string, error) {
	c, err := b.Read(0, 1<<40, false)
	if err != nil {
		return "", err
	}
	defer c.Close()
	var text strings.Builder
	fmt.Fprintln(&text, c.Offsets())
	if schema, _ := c.Schema(); schema != nil {
		fmt.Fprintln(&text, schema.Fields())
	}
	values := map[string][]string{}
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		for i, f := range rec.Schema().Fields() {
			for row := range int(rec.NumRows()) {
				values[f.Name] = append(values[f.Name], strings.Clone(rec.Column(i).ValueStr(row)))
			}
		}
		rec.Release()
	}
	fmt.Fprintln(&text, values)
	n, err := b.Count("")
	fmt.Fprintln(&text, n)
	if err == nil && values["id"] != nil {
		n, err = b.Count("id % 3 = 1")
		fmt.Fprintln(&text, n)
	}
	return text.String(), err
}

// wantTold checks that a reader says what the owner does.
func wantTold(t testing.TB, when string, owner, reader *Bucket) {
	t.Helper()
	want, err := told(owner)
	must(t, err)
	got, err := told(reader)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	wantSame(t, when, got, want)
}

// wantSame shows where two texts differ.
func wantSame(t testing.TB, when, got, want string) {
	t.Helper()
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	if got != want {
		shown := func(text string) string { return text[max(0, at-100):min(len(text), at+100)] }
		t.Fatalf("%s: the reader says\n... %s ...\nthe owner\n... %s ...", when, shown(got), shown(want))
	}
}

// TestReadersSeeWhatTheOwnerDoes has the owner do all that there is in a random order, and looks after each step with a reader that stays
// and, at times, one that comes.
func TestReadersSeeWhatTheOwnerDoes(t *testing.T) {
	for name, change := range map[string]func(*options.Options){
		"with a log":            func(*options.Options) {},
		"with a log that syncs": func(o *options.Options) { o.WALSyncInterval = 0 },
		"with short segments":   func(o *options.Options) { o.MaxWALBytes, o.WALCompression = options.MinWALBytes, "zstd" },
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, uint64(len(name))))
			dir := filepath.Join(t.TempDir(), "bucket")
			o := quiet(change)
			owner := open(t, dir, o)
			reader := openToRead(t, dir)
			var versions []uint64
			added := 0
			for step := range 150 {
				what := ""
				switch random.IntN(12) {
				default:
					what = "append"
					n := int64(1)
					if random.IntN(5) == 0 {
						n = random.Int64N(900) + 1
					}
					appendRows(t, owner, n)
				case 5:
					what = "flush"
					must(t, owner.Flush())
				case 6:
					what = "compact"
					must(t, owner.Compact())
				case 7:
					what = "delete"
					_, err := owner.Delete(fmt.Sprintf("id %% 50 = %d", random.IntN(50)))
					if schema, _ := owner.Schema(); schema != nil {
						must(t, err)
					}
				case 8:
					what = "add a column"
					if added++; added < 6 {
						must(t, owner.Columns().Add([]arrow.Field{nullable(fmt.Sprint("more", added), arrow.PrimitiveTypes.Int64)}))
					}
				case 9:
					what = "truncate"
					_, err := owner.TruncateBefore(owner.Acknowledged() / 2)
					must(t, err)
				case 10:
					what = "restore"
					if found, err := owner.Versions(); len(found) > 0 {
						must(t, err)
						must(t, owner.Restore(found[random.IntN(len(found))].Number))
					}
				case 11:
					what = "open again"
					must(t, owner.Close())
					wantReadable(t, dir, reader)
					owner = open(t, dir, o)
				}
				when := fmt.Sprintf("step %d: %s", step, what)
				wantTold(t, when, owner, reader)
				if random.IntN(10) == 0 {
					wantTold(t, when+", a new reader", owner, openToRead(t, dir))
				}
				if got, want := reader.Acknowledged(), owner.Acknowledged(); got != want {
					t.Fatalf("%s: %d rows, want %d", when, got, want)
				}
				found, err := reader.Versions()
				must(t, err)
				for _, v := range found {
					versions = append(versions, v.Number)
				}
			}
			if len(versions) == 0 {
				t.Error("there never was a version")
			}
		})
	}
}

// wantReadable checks a reader, and a new one, while nobody has the bucket.
func wantReadable(t testing.TB, dir string, reader *Bucket) {
	t.Helper()
	want, err := told(reader)
	must(t, err)
	got, err := told(openToRead(t, dir))
	must(t, err)
	wantSame(t, "a new reader and one that stays", got, want)
}

// TestReadersAtEachStep looks at a bucket before each thing that its owner does to a file.
func TestReadersAtEachStep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	var acknowledged, removed atomic.Int64
	var old atomic.Pointer[Bucket]
	var mu sync.Mutex // files are synced side by side
	looks := 0
	look := func(op faultfs.Op) error {
		reader := old.Load()
		if reader == nil || op.Name == "read" || op.Name == "stat" || op.Name == "open" || op.Name == "size" {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		looks++
		least := acknowledged.Load()
		fresh, err := OpenReadOnly(dir, options.Default())
		if err != nil {
			t.Errorf("before %s of %s: %v", op.Name, filepath.Base(op.Path), err)
			return nil
		}
		defer fresh.Close()
		for which, b := range map[string]*Bucket{"new": fresh, "old": reader} {
			first, err := b.FirstFrom(0)
			if err != nil {
				t.Errorf("before %s of %s, %s: %v", op.Name, op.Path, which, err)
				continue
			}
			c, err := b.Read(0, 1<<40, false)
			got := ids(t, c, err)
			if end := first + int64(len(got)); end < least || first > removed.Load() || !slices.Equal(got, span(first, end)) {
				t.Errorf("before %s of %s, %s: the rows %d to %d of %d, without those below %d", op.Name, op.Path, which, first, end, least, removed.Load())
			}
		}
		return nil
	}
	o := quiet(func(o *options.Options) {
		o.FS, o.WALSyncInterval, o.MaxWALBytes = &faultfs.Hook{FS: vfs.OS, Before: look}, 0, options.MinWALBytes
	})
	owner := open(t, dir, o)
	appendRows(t, owner, 3)
	acknowledged.Store(3)
	old.Store(openToRead(t, dir))
	for range 3 {
		for range 5 {
			appendRows(t, owner, 700)
			acknowledged.Add(700)
		}
		must(t, owner.Flush())
		removed.Store(acknowledged.Load() - 500) // from now on they may be gone
		_, err := owner.TruncateBefore(removed.Load())
		must(t, err)
		must(t, owner.Columns().Add([]arrow.Field{nullable(fmt.Sprint("more", acknowledged.Load()), arrow.PrimitiveTypes.Int64)}))
		appendRows(t, owner, 1)
		acknowledged.Add(1)
		must(t, owner.Compact())
		must(t, owner.Close())
		owner = open(t, dir, o)
	}
	if looks < 100 {
		t.Errorf("only %d looks", looks)
	}
}

// TestReadersSeeTheRing looks while rows are in the ring, on their way to the log, and in neither.
func TestReadersSeeTheRing(t *testing.T) {
	dir := t.TempDir()
	p := putterOf(t, open(t, dir, quiet()))
	reader := openToRead(t, dir)
	for i := range 300 {
		if !p.put(int64(1 + i%3)) {
			p.call(1)
			p.openRing()
		}
		if i%7 == 0 {
			p.b.DrainRing()
		}
		if i%50 == 0 {
			must(t, p.b.Flush())
		}
		wantRows(t, reader, p.next)
	}
	wantRows(t, openToRead(t, killed(t, p.b)), p.next)
	must(t, p.b.Close())
	wantRows(t, reader, p.next)
}

// TestReadersOfABusyBucket reads while rows are put, flushed, removed and compacted by background work.
func TestReadersOfABusyBucket(t *testing.T) {
	for name, change := range map[string]func(*options.Options){
		"with a log":            func(*options.Options) {},
		"with a log that syncs": func(o *options.Options) { o.WALSyncInterval = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bucket")
			owner := open(t, dir, quiet(change, func(o *options.Options) {
				o.FlushRows, o.CompactFragments, o.MaxWALBytes, o.RetentionRows = 500, 4, options.MinWALBytes, 5_000
			}))
			appendRows(t, owner, 1)
			wait := appendMeanwhile(t, owner, 600, 25)
			reader := openToRead(t, dir)
			for owner.Acknowledged() < 600*25 {
				before := owner.Acknowledged()
				end, err := reader.Renew(false)
				must(t, err)
				if end < before {
					t.Fatalf("%d rows, want %d", end, before)
				}
				first, err := reader.FirstFrom(0)
				must(t, err)
				c, err := reader.Read(0, 1<<40, false)
				got := ids(t, c, err)
				if len(got) == 0 || got[0] < first || !slices.Equal(got, span(got[0], got[0]+int64(len(got)))) || got[len(got)-1] < before-1 {
					t.Fatalf("read %d rows, from %d on, of %d", len(got), first, before)
				}
				c, err = reader.Query(table.Query{Filter: "id >= 0"}, nil)
				got = ids(t, c, err)
				if len(got) == 0 || !slices.Equal(got, span(got[0], got[0]+int64(len(got)))) || got[len(got)-1] < before-1 {
					t.Fatalf("found %d rows of %d", len(got), before)
				}
			}
			wait()
		})
	}
}

// TestReadersKeepWhatTheyRead has the files of a version removed while it is read.
func TestReadersKeepWhatTheyRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	owner := open(t, dir, quiet())
	for range 10 {
		appendRows(t, owner, 5_000)
		must(t, owner.Flush())
	}
	reader := openToRead(t, dir)
	c, err := reader.Read(0, 1<<40, false)
	must(t, err)
	answer, err := reader.Query(table.Query{Filter: "id >= 0"}, nil)
	must(t, err)
	must(t, owner.Compact())
	_, err = owner.TruncateBefore(49_999)
	must(t, err)
	must(t, owner.Compact())
	for what, c := range map[string]*table.Cursor{"a read": c, "a query": answer} {
		if got := ids(t, c, nil); !slices.Equal(got, span(0, 50_000)) {
			t.Errorf("%s gave %d rows", what, len(got))
		}
	}
	wantLeft(t, reader, 50_000, 49_999)
}

// TestReadersChangeNothing tries all that writes, in a directory that may not be written to.
func TestReadersChangeNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	owner := open(t, dir, quiet())
	appendRows(t, owner, 100)
	must(t, owner.Flush())
	must(t, owner.Tag("then", newestVersion(t, owner)))
	must(t, owner.Commit("me", 7))
	appendRows(t, owner, 50)
	for _, closed := range []bool{false, true} {
		if closed {
			must(t, owner.Close())
		}
		before := tree(t, dir)
		must(t, os.Chmod(dir, 0o555))
		b := openToRead(t, dir)
		wantRows(t, b, 150)
		if n, err := b.Count("id > 90"); n != 59 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if at, err := b.Consumers(); at["me"] != 7 || err != nil {
			t.Errorf("%v, %v", at, err)
		}
		found, err := b.Versions()
		must(t, err)
		if len(found) == 0 || !slices.Equal(found[0].Tags, []string{"then"}) {
			t.Errorf("versions %+v", found)
		}
		view, err := b.At(found[0].Number)
		must(t, err)
		wantView(t, view, span(0, 100)...)
		must(t, view.Close())
		if s := b.Stats(); s.TotalCount != 150 || s.WALEnabled == false || s.WriteError == nil {
			t.Errorf("%+v", s)
		}
		rec := someRows(t, 0, 1)
		defer rec.Release()
		field := nullable("x", arrow.PrimitiveTypes.Int64)
		for what, do := range map[string]func() error{
			"append":   func() error { _, _, err := b.Append(Record{Rows: rec}, false); return err },
			"flush":    b.Flush,
			"compact":  b.Compact,
			"delete":   func() error { _, err := b.Delete("id = 1"); return err },
			"truncate": func() error { _, err := b.TruncateBefore(1); return err },
			"add":      func() error { return b.Columns().Add([]arrow.Field{field}) },
			"declare":  func() error { return b.Columns().Declare(numbered) },
			"drop":     func() error { return b.Columns().Drop("text") },
			"rename":   func() error { return b.Columns().Rename("text", "words") },
			"cast":     func() error { return b.Columns().Cast(nullable("id", arrow.PrimitiveTypes.Float64)) },
			"compute":  func() error { return b.Columns().Compute(field, "id + 1") },
			"tag":      func() error { return b.Tag("now", found[0].Number) },
			"untag":    func() error { return b.Untag("then") },
			"restore":  func() error { return b.Restore(found[0].Number) },
			"commit":   func() error { return b.Commit("me", 1) },
			"index":    func() error { return b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}) },
		} {
			if err := do(); !errors.Is(err, engine.ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must(t, b.Close())
		if _, err := b.Read(0, 1, false); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("a read after the close: %v", err)
		}
		must(t, os.Chmod(dir, 0o755))
		sameTree(t, before, tree(t, dir))
	}
}

// TestReadersSeeDamageAsTheOwnerDoes compares the errors.
func TestReadersSeeDamageAsTheOwnerDoes(t *testing.T) {
	for name, damage := range map[string]struct {
		pattern string
		with    func(string) error
	}{
		"no data file":       {"data.lance/data/*.lance", gone},
		"half a data file":   {"data.lance/data/*.lance", asHalf},
		"no mark":            {"table.mark", asText("nonsense")},
		"no identity":        {"bucket.json", gone},
		"no log":             {"wal/*.wal", gone},
		"a log cut short":    {"wal/*.wal", asHalf},
		"another's log":      {"wal/*.wal", asText("nonsense of another program, which is no segment at all " + strings.Repeat("x", 100))},
		"a header of damage": {"wal/*.wal", flipped(20)},
		"a flipped entry":    {"wal/*.wal", flipped(700)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bucket")
			b := open(t, dir, quiet(func(o *options.Options) { o.WALSyncInterval = 0 }))
			appendRows(t, b, 50)
			must(t, b.Flush())
			for range 20 {
				appendRows(t, b, 5)
			}
			dir = killed(t, b)
			replaced(t, dir, damage.pattern, damage.with)
			_, got := OpenReadOnly(dir, options.Default())
			b, want := Open(dir, quiet())
			if want == nil {
				must(t, b.Close())
			}
			if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() && KindOf(got) != KindOf(want) {
				t.Errorf("a reader is told %v\nthe owner %v", got, want)
			}
			if want == nil {
				t.Error("nothing is wrong")
			}
		})
	}
}

// TestReadersOfATornLog read to where a crash has cut it, and on from there once the owner does.
func TestReadersOfATornLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	for range 5 {
		appendRows(t, b, 2)
	}
	end := b.log.Size()
	dir = killed(t, b)
	file, err := os.OpenFile(filepath.Join(dir, "wal", onlyFile(t, filepath.Join(dir, "wal"))), os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteAt([]byte("half of an entry"), end)
	must(t, errors.Join(err, file.Close()))
	reader := openToRead(t, dir)
	for range 3 {
		wantRows(t, reader, 10)
	}
	owner := open(t, dir, quiet())
	wantRows(t, reader, 10)
	appendRows(t, owner, 1)
	wantRows(t, reader, 11)
}

// TestWaitingForAnotherProcess waits for rows that come.
func TestWaitingForAnotherProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	owner := open(t, dir, quiet())
	reader := openToRead(t, dir)
	done := make(chan error, 1)
	go func() { done <- reader.Wait(background, 2) }()
	appendRows(t, owner, 1)
	select {
	case err := <-done:
		t.Fatal(err)
	case <-time.After(5 * waitInterval):
	}
	appendRows(t, owner, 1)
	must(t, <-done)
	go func() { done <- reader.Wait(background, 9) }()
	must(t, reader.Close())
	if err := <-done; !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
}

// TestAReaderOfWhatIsNoBucket is told so, and leaves nothing behind.
func TestAReaderOfWhatIsNoBucket(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReadOnly(dir, options.Default()); !errors.Is(err, engine.ErrNoBucket) {
		t.Error(err)
	}
	if _, err := OpenReadOnly(filepath.Join(dir, "nowhere"), options.Default()); !errors.Is(err, engine.ErrNoBucket) {
		t.Error(err)
	}
	if found := tree(t, dir); len(found) > 1 {
		t.Errorf("left %v", found)
	}
}

// TestAReaderOfAnotherBucket is told when the directory is made anew.
func TestAReaderOfAnotherBucket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	owner := open(t, dir, quiet())
	for range 5 {
		appendRows(t, owner, 3)
		must(t, owner.Flush())
	}
	must(t, owner.Close())
	reader := openToRead(t, dir)
	wantRows(t, reader, 15)
	must(t, os.RemoveAll(dir))
	if _, err := reader.Renew(false); err == nil {
		t.Error("a bucket that is gone has rows")
	}
	appendRows(t, open(t, dir, quiet()), 1)
	if _, err := reader.Renew(false); !errors.Is(err, engine.ErrDisowned) {
		t.Errorf("another bucket: %v", err)
	}
}

// BenchmarkIdleLook is what a reader does while nothing happens.
func BenchmarkIdleLook(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "bucket")
	owner := open(b, dir, quiet())
	appendRows(b, owner, 1000)
	must(b, owner.Flush())
	appendRows(b, owner, 10)
	reader := openToRead(b, dir)
	var before, after unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &before))
	for b.Loop() {
		_, err := reader.Renew(true)
		must(b, err)
	}
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &after))
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
}
