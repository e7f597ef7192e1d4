package bucket

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
)

func TestRowsStayThroughFlushAndReopen(t *testing.T) {
	for name, change := range map[string]func(*options.Options){
		"with a log":    func(*options.Options) {},
		"synced log":    func(o *options.Options) { o.WALSyncInterval = 0 },
		"without a log": func(o *options.Options) { o.EnableWAL = false },
		"no cache":      func(o *options.Options) { o.CacheBytes = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bucket")
			b := open(t, dir, quiet(change))
			wantRows(t, b, 0)
			var rows int64
			for _, n := range []int64{1, 100, 3000, 7} {
				appendRows(t, b, n)
				rows += n
				wantRows(t, b, rows)
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
				wantRows(t, b, rows)
				if s := b.Stats(); s.PersistedCount != rows || s.BufferSize != 0 {
					t.Fatalf("after a flush: %+v", s)
				}
			}
			appendRows(t, b, 5)
			rows += 5
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, dir, quiet(change))
			wantRows(t, b, rows)
			appendRows(t, b, 5)
			wantRows(t, b, rows+5)
		})
	}
}

// crash copies the directory of a live bucket, which is what a process that was
// killed leaves behind.
func crash(t *testing.T, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestLogIsReplayedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 10)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	appendRows(t, b, 20)
	left := crash(t, dir)
	for range 3 {
		again := open(t, left, quiet())
		wantRows(t, again, 30)
		if s := again.Stats(); s.PersistedCount != 10 || s.BufferSize != 20 {
			t.Fatalf("recovered %+v", s)
		}
		left = crash(t, left)
	}
	withoutLog := open(t, left, quiet(func(o *options.Options) { o.EnableWAL = false }))
	wantRows(t, withoutLog, 30)
	if s := withoutLog.Stats(); s.PersistedCount != 30 || s.WALEnabled {
		t.Fatalf("a bucket opened without a log kept %+v", s)
	}
	if _, err := os.Stat(filepath.Join(left, "wal")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the log is still there: %v", err)
	}
}

// A flush that was cut off after its commit leaves rows in Lance and in the log.
func TestRowsInTableAndLogComeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 40)
	before := crash(t, dir)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(before, "data.lance"), os.DirFS(filepath.Join(dir, "data.lance"))); err != nil {
		t.Fatal(err)
	}
	again := open(t, before, quiet())
	wantRows(t, again, 40)
	appendRows(t, again, 2)
	if err := again.Flush(); err != nil {
		t.Fatal(err)
	}
	wantRows(t, again, 42)
}

// What a flush leaves in memory is few batches, also where some came while it ran.
func TestAFlushJoinsSmallBatches(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CacheBytes = 64 << 20 }))
	wait := appendMeanwhile(t, b, 500, 100)
	for range 20 {
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
	}
	wait()
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	b.rows.mu.Lock()
	batches, rows, bytes := len(b.rows.tail.Chunks()), b.rows.tail.Next()-b.rows.tail.Begin(), int64(0)
	for _, c := range b.rows.tail.Chunks() {
		bytes += batch.RowBytes(c.Record)
	}
	kept := b.rows.tail.Bytes()
	b.rows.mu.Unlock()
	if rows != 50_000 || batches > 50_000/300+22 || bytes != kept {
		t.Fatalf("%d rows in %d batches, %d bytes of %d", rows, batches, bytes, kept)
	}
	wantRows(t, b, 50_000)
}

func TestReadAnyRange(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CacheBytes = 1 << 16 }))
	const rows = 5000
	for n := int64(0); n < rows; n = b.Acknowledged() {
		appendRows(t, b, min(rand.Int64N(300)+1, rows-n))
		if rand.IntN(5) == 0 {
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 300 {
		first, count := rand.Int64N(rows+100), rand.Int64N(rows/2)
		c, err := b.Read(first, count, false)
		got := ids(t, c, err)
		if want := max(min(count, rows-first), 0); int64(len(got)) != want {
			t.Fatalf("[%d, +%d): %d rows, want %d", first, count, len(got), want)
		}
		for i, id := range got {
			if id != first+int64(i) {
				t.Fatalf("[%d, +%d): row %d at place %d", first, count, id, i)
			}
		}
	}
	offsets := make([]int64, 500)
	for i := range offsets {
		offsets[i] = rand.Int64N(rows)
	}
	c, err := b.Take(offsets, false)
	got := ids(t, c, err)
	for i := range offsets {
		if got[i] != offsets[i] {
			t.Fatalf("took row %d for offset %d", got[i], offsets[i])
		}
	}
	if _, err := b.Take([]int64{0, rows}, false); !errors.Is(err, engine.ErrNotFound) {
		t.Fatalf("got %v for an offset after the end", err)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	_, err := Open(dir, quiet())
	var locked *engine.LockedError
	if !errors.As(err, &locked) || !strings.Contains(locked.Holder, "process ") {
		t.Fatalf("got %v, want a LockedError that names the process", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, quiet())
}

func TestClosedBucketRefuses(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	appendRows(t, b, 3)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	rec := someRows(t, 3, 1)
	defer rec.Release()
	_, _, appendErr := b.Append(Record{Rows: rec}, false)
	_, readErr := b.Read(0, 1, false)
	_, takeErr := b.Take([]int64{0}, false)
	for what, err := range map[string]error{
		"append": appendErr, "read": readErr, "take": takeErr,
		"flush": b.Flush(), "compact": b.Compact(), "close": b.Close(), "wait": b.Wait(background, 9),
	} {
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s: got %v, want %v", what, err, engine.ErrClosed)
		}
	}
}

func TestPromotion(t *testing.T) {
	floats := func(values ...float64) arrow.Record {
		schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Float64, Nullable: true}}, nil)
		b := array.NewRecordBuilder(memory.Allocator, schema)
		defer b.Release()
		b.Field(0).(*array.Float64Builder).AppendValues(values, nil)
		return b.NewRecord()
	}
	t.Run("exact", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "bucket")
		b := open(t, dir, quiet())
		appendRows(t, b, 10)
		rec := floats(0.5)
		defer rec.Release()
		if _, _, err := b.Append(Record{Rows: rec}, true); !errors.Is(err, engine.ErrWouldBlock) {
			t.Fatalf("got %v from a promotion that must not wait", err)
		}
		if _, end, err := b.Append(Record{Rows: rec}, false); err != nil || end != 11 {
			t.Fatalf("got end %d, %v", end, err)
		}
		must(t, b.Wait(background, 11))
		b = open(t, crash(t, dir), quiet())
		c, err := b.Read(0, 20, false)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var got []float64
		for {
			rec, err := c.Next()
			if err != nil {
				break
			}
			got = append(got, rec.Column(0).(*array.Float64).Float64Values()...)
			rec.Release()
		}
		if len(got) != 11 || got[9] != 9 || got[10] != 0.5 {
			t.Fatalf("got %v", got)
		}
	})
	t.Run("inexact", func(t *testing.T) {
		b := open(t, t.TempDir(), quiet())
		rec := someRows(t, 1<<53+1, 1)
		defer rec.Release()
		if _, _, err := b.Append(Record{Rows: rec}, false); err != nil {
			t.Fatal(err)
		}
		half := floats(0.5)
		defer half.Release()
		_, _, err := b.Append(Record{Rows: half}, false)
		var refused *engine.SchemaError
		if !errors.As(err, &refused) || refused.Column != "id" {
			t.Fatalf("got %v, want a SchemaError of column id", err)
		}
		if b.Acknowledged() != 1 {
			t.Fatalf("%d rows after a refused batch", b.Acknowledged())
		}
	})
}

func TestFlushAndReadDuringCompaction(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CacheBytes = 0 }))
	for range 30 {
		appendRows(t, b, 20)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	done := make(chan struct{})
	group.Go(func() {
		defer close(done)
		for range 5 {
			if err := b.Compact(); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			appendRows(t, b, 10)
			if err := b.Flush(); err != nil {
				t.Error(err)
			}
			wantRows(t, b, b.Acknowledged())
		}
	})
	group.Wait()
	wantRows(t, b, b.Acknowledged())
	if n := b.Stats().Fragments; n > 30 {
		t.Errorf("%d fragments after compaction", n)
	}
}

func TestCursorOutlivesCompactionAndClose(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CacheBytes = 0 }))
	for range 10 {
		appendRows(t, b, 20_000)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := b.Read(0, 200_000, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got := ids(t, c, nil)
	if len(got) != 200_000 || got[199_999] != 199_999 {
		t.Fatalf("read %d rows", len(got))
	}
}

func TestBackground(t *testing.T) {
	t.Run("rows start a flush", func(t *testing.T) {
		b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.FlushRows = 50 }))
		appendRows(t, b, 60)
		eventually(t, "a flush", func() bool { return b.Stats().BufferSize == 0 })
	})
	t.Run("time starts a flush", func(t *testing.T) {
		b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.FlushInterval = 20 * time.Millisecond }))
		appendRows(t, b, 1)
		eventually(t, "a flush", func() bool { return b.Stats().BufferSize == 0 })
	})
	t.Run("fragments start a compaction", func(t *testing.T) {
		b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.CompactFragments = 8 }))
		for range 8 {
			appendRows(t, b, 1)
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "a compaction", func() bool { return b.Stats().Fragments < 8 })
		wantRows(t, b, 8)
	})
	t.Run("a large log holds appends back", func(t *testing.T) {
		b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.MaxWALBytes = options.MinWALBytes }))
		for range 60 {
			appendRows(t, b, 3000)
			if size := b.Stats().WALBytes; size > 3*options.MinWALBytes {
				t.Fatalf("the log has %d bytes", size)
			}
		}
		wantRows(t, b, 180_000)
	})
}

func TestWaitEnds(t *testing.T) {
	for name, wal := range map[string]bool{"with a log": true, "without a log": false} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.EnableWAL = wal }))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			if err := b.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v, want the deadline", err)
			}
			rung := make(chan int64, 4)
			b.SetWaker(func(rows int64, over bool) {
				if over {
					rows = -rows - 1
				}
				rung <- rows
			})
			b.Notify(1)
			b.Notify(2) // the fewest count
			waited := make(chan error, 2)
			go func() { waited <- b.Wait(background, 1) }()
			go func() { waited <- b.Wait(background, 2) }()
			appendRows(t, b, 1)
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if rows := <-rung; rows != 1 {
				t.Errorf("the waker said %d, want 1", rows)
			}
			b.Notify(2)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if rows := <-rung; rows != -1 {
				t.Errorf("the waker said %d, want the end", rows)
			}
			if err := <-waited; !errors.Is(err, engine.ErrClosed) {
				t.Fatalf("got %v, want %v", err, engine.ErrClosed)
			}
		})
	}
}

func TestForeignDirectory(t *testing.T) {
	tests := map[string]struct {
		break_ func(t *testing.T, dir string)
		want   string
	}{
		"no identity": {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "bucket.json"))) }, "bucket.json"},
		"torn identity": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "bucket.json"), []byte(`{"for`), 0o644))
		}, "bucket.json"},
		"newer format": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "bucket.json"), []byte(`{"format":2,"id":""}`), 0o644))
		}, "format 2"},
		"other bucket": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "bucket.json"), []byte(`{"format":1,"id":"00000000000000000000000000000000"}`), 0o644))
		}, "belongs to bucket"},
		"a file": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o644))
		}, "not a directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bucket")
			b := open(t, dir, quiet())
			appendRows(t, b, 3)
			left := crash(t, dir)
			test.break_(t, left)
			if _, err := Open(left, quiet()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The process that holds a bucket is killed: the kernel lets go of its lock.
func TestLockOfDeadProcess(t *testing.T) {
	if dir := os.Getenv("PERSISTING_TEST_HOLD"); dir != "" {
		if _, err := Open(dir, quiet()); err != nil {
			os.Exit(3)
		}
		os.Stdout.WriteString("held\n")
		time.Sleep(time.Minute)
		return
	}
	dir := t.TempDir()
	holder := exec.Command(os.Args[0], "-test.run", "^TestLockOfDeadProcess$")
	holder.Env = append(os.Environ(), "PERSISTING_TEST_HOLD="+dir)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	_, err = out.Read(make([]byte, 5))
	must(t, err)
	var locked *engine.LockedError
	if _, err := Open(dir, quiet()); !errors.As(err, &locked) {
		t.Fatalf("got %v, want a LockedError", err)
	}
	must(t, holder.Process.Kill())
	if err := holder.Wait(); err == nil {
		t.Fatal("the holder ended well")
	}
	open(t, dir, quiet())
}

func TestAPathThatLanceRefusesIsRefusedAtOnce(t *testing.T) {
	for _, name := range []string{"a\x1bb", "a\nb", "a\x7fb", "a\xffb"} {
		var refused *engine.OptionError
		if _, err := Open(filepath.Join(t.TempDir(), name), quiet()); !errors.As(err, &refused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"a b", "ä %20 #?*[x]", "~'\"", "\u00a0\u2028"} {
		b := open(t, filepath.Join(t.TempDir(), name), quiet())
		appendRows(t, b, 1)
		if err := b.Flush(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
