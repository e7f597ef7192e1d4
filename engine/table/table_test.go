package table

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

var ids = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func numbers(first, n int64) arrow.Record {
	b := array.NewRecordBuilder(memory.Allocator, ids)
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(first + i)
	}
	return b.NewRecord()
}

// store is a directory with a table, and nothing else.
type store struct {
	home *statefile.Dir
	*Table
}

func tryOpen(dir string, fsys vfs.FS) (*store, error) {
	home, err := statefile.Open(dir, fsys)
	if err != nil {
		return nil, err
	}
	t, err := Open(home, Options{Config: lance.Config{Compression: "auto"}})
	if err != nil {
		return nil, errors.Join(err, home.Release())
	}
	return &store{home, t}, nil
}

func openStore(t testing.TB, dir string, fsys vfs.FS) *store {
	t.Helper()
	s, err := tryOpen(dir, fsys)
	must(t, err)
	return s
}

func (s *store) close() error { return errors.Join(s.Close(), s.home.Release()) }

// add appends n rows, and publishes them.
func (s *store) add(n int64) error {
	s.Growing.Lock()
	defer s.Growing.Unlock()
	from := s.rows()
	rec := numbers(from, n)
	defer rec.Release()
	snapshot, err := s.Append(ids, []arrow.Record{rec}, from)
	if err == nil {
		s.Publish(snapshot)
	}
	return err
}

// compact does all that a compaction does.
func (s *store) compact() error {
	s.Reshaping.Lock()
	defer s.Reshaping.Unlock()
	if made, err := s.Made(); err != nil || !made {
		return err
	}
	if err := s.Merge(true); err != nil {
		return err
	}
	return s.Clean()
}

func (s *store) tag(name string) error {
	s.Reshaping.Lock()
	defer s.Reshaping.Unlock()
	newest := s.Newest()
	if newest == nil {
		return nil
	}
	defer newest.Release()
	return s.Tag(name, newest.Version())
}

func (s *store) rows() int64 {
	newest := s.Newest()
	if newest == nil {
		return 0
	}
	defer newest.Release()
	return newest.NextRowID()
}

// wantRows reads all rows, which are numbered from 0.
func (s *store) wantRows(t testing.TB, least, most int64) int64 {
	t.Helper()
	n := s.rows()
	if n < least || n > most {
		t.Fatalf("%d rows, want %d to %d", n, least, most)
	}
	newest := s.Newest()
	if newest == nil {
		return 0
	}
	c, err := Answer(newest, newest.Release, Query{}, nil)
	must(t, err)
	defer func() { must(t, c.Close()) }()
	var next int64
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		for _, id := range rec.Column(0).(*array.Int64).Int64Values() {
			if id != next {
				t.Fatalf("row %d holds %d", next, id)
			}
			next++
		}
		rec.Release()
	}
	if next != n {
		t.Fatalf("%d of %d rows can be read", next, n)
	}
	return n
}

func TestATableNeedsNothingButADirectory(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, vfs.OS)
	s.wantRows(t, 0, 0)
	for range 5 {
		must(t, s.add(10))
	}
	must(t, s.tag("half"))
	s.Reshaping.Lock()
	must(t, s.CreateIndex(IndexSpec{Column: "id", Type: "btree"}))
	s.Reshaping.Unlock()
	must(t, s.add(50))
	must(t, s.compact())
	s.wantRows(t, 100, 100)
	must(t, s.close())

	s = openStore(t, dir, vfs.OS)
	defer func() { must(t, s.close()) }()
	s.wantRows(t, 100, 100)
	if s.SetAside() != 0 {
		t.Errorf("%d versions were set aside", s.SetAside())
	}
	indexes, err := s.Indexes()
	if err != nil || len(indexes) != 1 || indexes[0].Name != "id_idx" {
		t.Errorf("indexes %+v, %v", indexes, err)
	}
	versions, err := s.Versions()
	must(t, err)
	at := slices.IndexFunc(versions, func(v Version) bool { return slices.Contains(v.Tags, "half") })
	if at < 0 || versions[at].Rows != 50 {
		t.Fatalf("versions %+v", versions)
	}
	view, err := s.At(versions[at].Number)
	must(t, err)
	defer view.Close()
	if n, err := view.Count("id >= 40"); err != nil || n != 10 {
		t.Errorf("%d rows of the view, %v", n, err)
	}
	s.Growing.Lock()
	s.Reshaping.Lock()
	after, removed, err := s.Remove(func(l *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return l.DeleteBefore(30) })
	s.Reshaping.Unlock()
	s.Growing.Unlock()
	must(t, err)
	s.Publish(after)
	c, err := view.Read(20, 5, true) // the view is of before
	must(t, err)
	must(t, c.Close())
	if removed != 30 {
		t.Errorf("%d rows were removed", removed)
	}
}

// TestACommitIsNotSeenBeforeItIsPublished, and stays where the owner never comes to that.
func TestACommitIsNotSeenBeforeItIsPublished(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, vfs.OS)
	must(t, s.add(3))
	rec := numbers(3, 2)
	defer rec.Release()
	s.Growing.Lock()
	snapshot, err := s.Append(ids, []arrow.Record{rec}, 3)
	s.Growing.Unlock()
	must(t, err)
	s.wantRows(t, 3, 3)
	snapshot.Release()
	must(t, s.close())
	s = openStore(t, dir, vfs.OS)
	s.wantRows(t, 5, 5)
	must(t, s.close())
}

// TestACrashTearsNoTable loses the power at each operation of a life in turn. What was appended is there, and what was being
// appended is there as a whole or not at all.
func TestACrashTearsNoTable(t *testing.T) {
	step := int64(7)
	if os.Getenv("PERSISTING_SLOW") != "" {
		step = 1
	}
	for crashAt := 1 + rand.Int64N(step); ; crashAt += step {
		root, left := t.TempDir(), filepath.Join(t.TempDir(), "left")
		must(t, os.Mkdir(filepath.Join(root, "store"), 0o755))
		d, err := faultfs.NewDisk(root)
		must(t, err)
		rng := rand.New(rand.NewPCG(uint64(crashAt), 1))
		var operations, safe, begun int64
		d.Before = func(op faultfs.Op) error {
			if operations++; operations < crashAt {
				return nil
			}
			if err := d.Image(rng, left); err != nil {
				t.Errorf("image: %v", err)
			}
			return faultfs.ErrCrashed
		}
		s, err := tryOpen(filepath.Join(root, "store"), d)
		for i := range int64(8) {
			if err != nil {
				break
			}
			begun = safe + 1 + i
			if err = s.add(1 + i); err == nil {
				safe = begun
			}
			if err == nil && i == 4 {
				err = s.tag("a")
			}
			if err == nil && i == 5 {
				err = s.compact()
			}
		}
		survived := err == nil
		if s != nil {
			_ = s.close() // fails without a disk
		}
		if survived && !d.IsDown() {
			must(t, d.Close())
			return // longer than the life
		}
		if !d.IsDown() {
			t.Fatalf("operation %d: %v", operations, err)
		}
		must(t, d.Close())
		after := openStore(t, filepath.Join(left, "store"), vfs.OS)
		n := after.wantRows(t, safe, begun)
		if n != safe && n != begun {
			t.Fatalf("power lost at operation %d: %d rows, want %d or %d", crashAt, n, safe, begun)
		}
		must(t, after.add(2))
		must(t, after.compact())
		after.wantRows(t, n+2, n+2)
		must(t, after.close())
	}
}

// TestWhatIsMarkedIsOnDisk holds that the files which the mark names are on the disk before it names them, and that nothing is
// cleaned up before.
func TestWhatIsMarkedIsOnDisk(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "store")
	must(t, os.Mkdir(dir, 0o755))
	d, err := faultfs.NewDisk(root)
	must(t, err)
	defer func() { must(t, d.Close()) }()
	marks, known := 0, 0
	durable := func(when string) {
		manifests, _ := filepath.Glob(filepath.Join(dir, Dir, "_versions", "*.manifest"))
		files, _ := filepath.Glob(filepath.Join(dir, Dir, "data", "*.lance"))
		if len(manifests) > 0 {
			files = append(files, slices.Min(manifests)) // names count down
		}
		for _, file := range files {
			changed, names, err := d.Unsynced(file)
			if err != nil || changed || len(names) > 0 {
				t.Errorf("%s: %s: changed %v, names %v, %v", when, file, changed, names, err)
			}
		}
	}
	d.Before = func(op faultfs.Op) error {
		files, _ := filepath.Glob(filepath.Join(dir, Dir, "data", "*.lance"))
		if len(files) < known {
			durable("a clean-up")
		}
		known = len(files)
		text, _ := os.ReadFile(filepath.Join(dir, MarkFile))
		if mark, ok := decodeSlot(text, 0); op.Name == "writeat" && filepath.Base(op.Path) == MarkFile && ok && mark.Changing {
			marks++
			durable(fmt.Sprintf("mark %d", marks))
		}
		return nil
	}
	s := openStore(t, dir, d)
	for range 4 {
		must(t, s.add(5))
	}
	must(t, s.compact())
	must(t, s.add(5))
	must(t, s.close())
	if marks < 6 || known != 2 {
		t.Errorf("%d marks, %d files", marks, known)
	}
}

// TestEachFaultInTurn fails each operation of a life, once: what was appended is there when the table is opened again, whatever
// the table said after the fault.
func TestEachFaultInTurn(t *testing.T) {
	step := int64(5)
	if os.Getenv("PERSISTING_SLOW") != "" {
		step = 1
	}
	fault := errors.New("the disk is gone")
	for n := 1 + rand.Int64N(step); ; n += step {
		dir := t.TempDir()
		nth := &faultfs.Nth{N: n, Err: fault}
		s, err := tryOpen(dir, &faultfs.Hook{FS: vfs.OS, Before: nth.Before, Short: true})
		var safe, most int64
		if err == nil {
			for i := range int64(6) {
				from := s.rows()
				err := s.add(1 + i)
				most = from + 1 + i
				if err == nil {
					safe = most
				}
				if i == 3 {
					_ = s.compact()
				}
				if err != nil && !errors.Is(err, fault) && !errors.Is(err, engine.ErrPoisoned) {
					t.Fatalf("fault %d: %v", n, err)
				}
			}
			_ = s.close()
		}
		after := openStore(t, dir, vfs.OS)
		after.wantRows(t, safe, max(safe, most))
		must(t, after.add(1))
		must(t, after.close())
		if n > nth.Count() {
			return
		}
	}
}

func TestABuildThatIsStoppedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, vfs.OS)
	must(t, s.add(1000))
	s.lance().CancelIndexes() // as Stop does, but before the build begins
	s.Reshaping.Lock()
	err := s.CreateIndex(IndexSpec{Column: "id", Type: "btree"})
	s.Reshaping.Unlock()
	if !errors.Is(err, engine.ErrClosed) {
		t.Fatalf("a build that was cancelled: %v", err)
	}
	must(t, s.add(10))
	s.Stop()
	if _, err := s.Indexes(); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("of a table that is being closed: %v", err)
	}
	must(t, s.close())
	s = openStore(t, dir, vfs.OS)
	defer func() { must(t, s.close()) }()
	if indexes, err := s.Indexes(); err != nil || len(indexes) > 0 {
		t.Fatalf("indexes %v, %v", indexes, err)
	}
	s.wantRows(t, 1010, 1010)
}

func TestSumsOfFilesThatAreGoneAreDropped(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, vfs.OS)
	s.sums.most = 100
	for range 10 {
		must(t, s.add(10))
	}
	lines := func() map[string]FileSum {
		known, err := ReadSums(vfs.OS, s.sums.path)
		must(t, err)
		return known
	}
	if n := len(lines()); n != 10 {
		t.Fatalf("%d files have sums", n)
	}
	must(t, s.compact())
	if n := len(lines()); n != 1 {
		t.Errorf("%d files have sums after a compaction", n)
	}
	must(t, s.add(10))
	must(t, s.close())
	if n := len(lines()); n != 2 {
		t.Errorf("%d files have sums", n)
	}
	for name, was := range lines() {
		if is, err := SumOf(vfs.OS, filepath.Join(dir, Dir, name)); err != nil || is != was {
			t.Errorf("%s: %+v, noted was %+v, %v", name, is, was, err)
		}
	}
}

// TestFewerRowsThanMarkedAreRefused takes the whole table away.
func TestFewerRowsThanMarkedAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, vfs.OS)
	must(t, s.add(10))
	must(t, s.close())
	must(t, os.RemoveAll(filepath.Join(dir, Dir)))
	if s, err := tryOpen(dir, vfs.OS); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("opened: %v, %v", s, err)
	}
}
