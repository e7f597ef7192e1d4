package bucket

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
)

// taken are ways in which the directory of an open bucket becomes another's. The new
// one, in dir afterwards, has three acknowledged rows.
var taken = map[string]func(t *testing.T, dir string){
	"removed": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
	"moved":   func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+".moved")) },
	"emptied": func(t *testing.T, dir string) {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			must(t, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	},
}

// inPlace are what an open bucket does in its directory. It has 5 rows in the table,
// a tag of its second version, an index on id, and 5 rows in the log.
var inPlace = map[string]struct {
	options func(*options.Options)
	do      func(t *testing.T, b *Bucket) error
}{
	"flush":   {do: func(_ *testing.T, b *Bucket) error { return b.Flush() }},
	"compact": {do: func(_ *testing.T, b *Bucket) error { return b.Compact() }},
	"clean": {do: func(_ *testing.T, b *Bucket) error {
		b.table.Reshaping.Lock()
		defer b.table.Reshaping.Unlock()
		return b.table.Clean()
	}},
	"delete":   {do: func(_ *testing.T, b *Bucket) error { _, err := b.Delete("id = 3"); return err }},
	"truncate": {do: func(_ *testing.T, b *Bucket) error { _, err := b.TruncateBefore(3); return err }},
	"add a column": {do: func(_ *testing.T, b *Bucket) error {
		return b.Columns().Add([]arrow.Field{{Name: "new", Type: arrow.PrimitiveTypes.Int64, Nullable: true}})
	}},
	"drop a column": {do: func(_ *testing.T, b *Bucket) error { return b.Columns().Drop("text") }},
	"create an index": {do: func(_ *testing.T, b *Bucket) error {
		return b.CreateIndex(table.IndexSpec{Column: "text", Type: "btree"})
	}},
	"drop an index": {do: func(_ *testing.T, b *Bucket) error { return b.DropIndex("id_idx") }},
	"tag":           {do: func(_ *testing.T, b *Bucket) error { return b.Tag("new", 1) }},
	"untag":         {do: func(_ *testing.T, b *Bucket) error { return b.Untag("old") }},
	"restore":       {do: func(_ *testing.T, b *Bucket) error { return b.Restore(1) }},
	"commit":        {do: func(_ *testing.T, b *Bucket) error { return b.Commit("trainer", 4) }},
	"a synced put": {
		options: func(o *options.Options) { o.WALSyncInterval = 0 },
		do:      func(t *testing.T, b *Bucket) error { return putOne(t, b, numbered) },
	},
	"a put that is synced later": {
		options: func(o *options.Options) { o.WALSyncInterval = 10 * time.Millisecond },
		do: func(t *testing.T, b *Bucket) error {
			err := putOne(t, b, numbered)
			for deadline := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
				err = b.writable()
			}
			return err
		},
	},
	"another segment": {do: func(t *testing.T, b *Bucket) error {
		return putOne(t, b, arrow.NewSchema(append(numbered.Fields(), arrow.Field{Name: "more", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil))
	}},
	"cut": {do: func(_ *testing.T, b *Bucket) error { return b.log.Cut(b.log.Acknowledged()) }},
	"times": {
		options: func(o *options.Options) { o.RetentionAge = time.Hour },
		do:      func(_ *testing.T, b *Bucket) error { return b.flusher.retention.Note(10, 0, time.Now()) },
	},
	"ring": {do: func(t *testing.T, b *Bucket) error {
		columns, err := batch.NewMessageSchema(numbered)
		must(t, err)
		rec := someRows(t, b.Acknowledged(), 1)
		defer rec.Release()
		e, err := batch.NewEncoder(numbered)
		must(t, err)
		pieces, err := e.Encode(rec)
		must(t, err)
		var message []byte
		for _, p := range pieces {
			message = append(message, p...)
		}
		_, _, err = b.Append(Message{columns, message}, false)
		if err == nil {
			_, err = b.OpenRing(columns)
		}
		return err
	}},
	"close": {do: func(_ *testing.T, b *Bucket) error { return b.Close() }},
}

// putOne puts the next row and waits for it.
func putOne(t *testing.T, b *Bucket, schema *arrow.Schema) error {
	t.Helper()
	row := someRows(t, b.Acknowledged(), 1)
	defer row.Release()
	rec, err := batch.Align(row, schema)
	must(t, err)
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	if err != nil {
		return err
	}
	return b.Wait(background, end)
}

// TestDisowned takes the directory away from an open bucket before it does something:
// it refuses, and neither that nor its end changes anything in the new one.
func TestDisowned(t *testing.T) {
	for how, take := range taken {
		for name, c := range inPlace {
			t.Run(how+", "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "bucket")
				b, err := Open(dir, quiet(func(o *options.Options) {
					if c.options != nil {
						c.options(o)
					}
				}))
				must(t, err)
				appendRows(t, b, 2)
				must(t, b.Flush())
				appendRows(t, b, 3)
				must(t, b.Flush())
				must(t, b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}))
				must(t, b.Tag("old", 2))
				appendRows(t, b, 5)

				take(t, dir)
				if how == "removed" { // nobody has come yet
					err := c.do(t, b)
					if !errors.Is(err, engine.ErrDisowned) || !errors.Is(err, engine.ErrPoisoned) {
						t.Errorf("without a new owner: %v", err)
					}
					if _, err := os.Stat(dir); err == nil {
						t.Errorf("it has made %v", tree(t, dir))
					}
				}
				next, err := Open(dir, quiet())
				must(t, err)
				appendRows(t, next, 3)
				before := tree(t, dir)
				if err := c.do(t, b); !errors.Is(err, engine.ErrDisowned) && !errors.Is(err, engine.ErrClosed) {
					t.Errorf("with a new owner: %v", err)
				}
				sameTree(t, before, tree(t, dir))
				if name != "close" {
					wantRows(t, b, b.Acknowledged()) // from memory
				}
				if err := b.Close(); !errors.Is(err, engine.ErrDisowned) && !errors.Is(err, engine.ErrClosed) {
					t.Errorf("closed with %v", err)
				}
				sameTree(t, before, tree(t, dir))
				again := open(t, crash(t, dir), quiet())
				wantRows(t, again, 3)
				must(t, next.Flush())
				must(t, next.Close())
				wantRows(t, open(t, dir, quiet()), 3)
			})
		}
	}
}

// TestNoGhost ends a bucket whose directory was removed: none is there afterwards.
func TestNoGhost(t *testing.T) {
	for name, rows := range map[string]func(t *testing.T, b *Bucket){
		"without rows":     func(*testing.T, *Bucket) {},
		"with rows":        func(t *testing.T, b *Bucket) { appendRows(t, b, 3) },
		"with a table":     func(t *testing.T, b *Bucket) { appendRows(t, b, 3); must(t, b.Flush()) },
		"with all of that": func(t *testing.T, b *Bucket) { appendRows(t, b, 3); must(t, b.Flush()); appendRows(t, b, 3) },
		"with puts in the ring": func(t *testing.T, b *Bucket) {
			p := putterOf(t, b)
			if !p.put(1) {
				t.Fatal("the ring takes no put")
			}
		},
	} {
		for _, logged := range []bool{true, false} {
			dir := filepath.Join(t.TempDir(), "bucket")
			b, err := Open(dir, quiet(func(o *options.Options) { o.EnableWAL = logged }))
			must(t, err)
			rows(t, b)
			must(t, os.RemoveAll(dir))
			if err := b.Close(); err != nil && !errors.Is(err, engine.ErrDisowned) {
				t.Errorf("%s, log %t: %v", name, logged, err)
			}
			if _, err := os.Lstat(dir); err == nil {
				t.Errorf("%s, log %t: it has left %v", name, logged, tree(t, dir))
			}
			appendRows(t, open(t, dir, quiet()), 1)
		}
	}
}

// TestDisownedRing has puts that do not call the engine: soon they have to.
func TestDisownedRing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b, err := Open(dir, quiet(func(o *options.Options) { o.WALSyncInterval = minSyncInterval }))
	must(t, err)
	p := putterOf(t, b)
	must(t, os.RemoveAll(dir))
	next := open(t, dir, quiet())
	before := tree(t, dir)
	eventually(t, "a ring that takes no more", func() bool {
		taken := p.put(1)
		b.DrainRing()
		return !taken
	})
	if _, _, err := b.Append(Message{p.columns, p.message(1)}, false); !errors.Is(err, engine.ErrDisowned) {
		t.Errorf("a put ends with %v", err)
	}
	if err := b.Close(); !errors.Is(err, engine.ErrDisowned) {
		t.Errorf("closed with %v", err)
	}
	sameTree(t, before, tree(t, dir))
	appendRows(t, next, 1)
}

func TestABucketStaysWhereItWasOpened(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(root, "real", "deep"), 0o755))
	must(t, os.Symlink("real/deep", filepath.Join(root, "link")))
	t.Chdir(root)
	b := open(t, "link/../bucket", quiet(func(*options.Options) {}))
	t.Chdir("/")
	appendRows(t, b, 3)
	must(t, b.Flush())
	must(t, b.Close())
	x, err := inspect.Examine(filepath.Join(root, "real", "bucket"), inspect.ExamineOptions{ReadRows: true})
	if err != nil || !x.Sound || x.Rows != 3 {
		t.Fatalf("%+v, %v", x, err)
	}
	t.Chdir(root)
	if x, err = inspect.Examine("link/../bucket", inspect.ExamineOptions{}); err != nil || !x.Sound || x.Rows != 3 {
		t.Fatalf("%+v, %v", x, err)
	}
}
