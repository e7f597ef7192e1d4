package bucket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/vfs"
)

// bytesRead is how many bytes this process has read from files so far.
func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "rchar: "); ok {
			_, err := fmt.Sscan(rest, &n)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no rchar in %q", text)
	return 0
}

// blob is a batch of one value that compression does nothing for.
func blob(size int, seed uint64) (rec arrow.Record, value []byte) {
	value = make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = rng.Read(value) // never fails
	b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema([]arrow.Field{{Name: "blob", Type: arrow.BinaryTypes.Binary, Nullable: true}}, nil))
	defer b.Release()
	b.Field(0).(*array.BinaryBuilder).Append(value)
	return b.NewRecord(), value
}

// appendBlob appends a value and waits for its acknowledgement.
func appendBlob(t *testing.T, b *Bucket, size int, seed uint64) []byte {
	t.Helper()
	rec, value := blob(size, seed)
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	must(t, err)
	must(t, b.Wait(background, end))
	return value
}

// TestRecoveryReadsTheLogAlone opens buckets whose tables differ in size.
func TestRecoveryReadsTheLogAlone(t *testing.T) {
	cost := map[int]int64{}
	for _, megabytes := range []int{1, 32} {
		o := quiet(func(o *options.Options) { o.FS = lazy{vfs.OS} })
		b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
		for i := range megabytes {
			appendBlob(t, b, 1<<20, uint64(i))
		}
		must(t, b.Flush())
		appendBlob(t, b, 1<<20, 77)
		left := crash(t, b.home.Path)
		before := bytesRead(t)
		again := open(t, left, o)
		cost[megabytes] = bytesRead(t) - before
		if s := again.Stats(); s.Recovery.Replayed != 1 || s.TableBytes < int64(megabytes)<<20 {
			t.Fatalf("%+v", s)
		}
		must(t, again.Close())
	}
	if cost[32] > cost[1]+1<<20 {
		t.Errorf("with a table of 1 MiB %d bytes are read, with one of 32 MiB %d", cost[1], cost[32])
	}
}

func TestLargeValueIsReplayed(t *testing.T) {
	o := quiet(func(o *options.Options) { o.FS = lazy{vfs.OS} })
	b := open(t, filepath.Join(t.TempDir(), "bucket"), o)
	appendBlob(t, b, 10, 1)
	want := appendBlob(t, b, 64<<20, 2)
	appendBlob(t, b, 10, 3)
	again := open(t, crash(t, b.home.Path), o)
	if s := again.Stats(); s.Recovery.Replayed != 3 {
		t.Fatalf("%+v", s.Recovery)
	}
	c, err := again.Read(1, 1, false)
	must(t, err)
	rec, err := c.Next()
	must(t, err)
	if !bytes.Equal(rec.Column(0).(*array.Binary).Value(0), want) {
		t.Error("the value is another")
	}
	rec.Release()
	must(t, c.Close())
}

// TestLeftOverFiles has files lie about that were being made when a crash came.
func TestLeftOverFiles(t *testing.T) {
	dir, rows := atRest(t)
	for _, name := range []string{
		"bucket.json.tmp", "table.mark.tmp", "wal/00000000000000000099.wal.tmp", "wal/00000000000000000001.wal.broken.tmp",
		"data.lance/data/0123456789abcdef.lance", "data.lance/_versions/.tmp_7.manifest_0", "data.lance/_transactions/9-x.txn",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o644))
	}
	if x := examine(t, dir); !x.Sound || x.Rows != int64(len(rows)) {
		t.Errorf("%+v", x)
	}
	must(t, openAndRead(t, dir, rows, true))
	if left, err := filepath.Glob(filepath.Join(dir, "wal", "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestALogOfSeveralCompressionsIsRecovered writes entries in each way into one log,
// by opening the bucket again with another compression after each.
func TestALogOfSeveralCompressionsIsRecovered(t *testing.T) {
	dir := t.TempDir()
	rows, sizes := int64(0), map[string]int64{}
	for _, name := range []string{"none", "lz4", "zstd", "none"} {
		b := open(t, dir, quiet(func(o *options.Options) { o.WALCompression = name }))
		before := b.Stats().WALBytes
		for range 5 {
			appendRows(t, b, 1)
			appendRows(t, b, 500)
		}
		rows += 5 * 501
		sizes[name] = b.Stats().WALBytes - before
		wantRows(t, b, rows)
		dir = crash(t, dir)
	}
	if sizes["lz4"] > sizes["none"]*2/3 || sizes["zstd"] > sizes["lz4"] {
		t.Errorf("bytes of the log: %v", sizes)
	}
	x, err := inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true})
	if err != nil || !x.Sound || x.End != rows {
		t.Errorf("examined: sound %v, %d rows, want %d: %v", x.Sound, x.End, rows, err)
	}
	b := open(t, dir, quiet())
	wantRows(t, b, rows)
	must(t, b.Flush())
	wantRows(t, b, rows)
}

// TestSmallLogOutlivesFlush puts and flushes as one does who waits for the table after each put: the log keeps what the table
// has, and neither a crash nor the next change of the table takes that for rows of its own.
func TestSmallLogOutlivesFlush(t *testing.T) {
	o := quiet(func(o *options.Options) { o.CutBytes = options.Default().CutBytes })
	dir := t.TempDir()
	b := open(t, dir, o)
	want := []int64{}
	putAndFlush := func() {
		appendRows(t, b, 1)
		want = append(want, int64(len(want)))
		must(t, b.Flush())
	}
	check := func(when string) {
		t.Helper()
		c, err := b.Read(0, int64(len(want))+1, false)
		if got := ids(t, c, err); !slices.Equal(got, want) {
			t.Fatalf("%s: rows %v, want %v", when, got, want)
		}
	}
	putAndFlush()
	segments := func() int { return b.log.Segments() }
	putAndFlush()
	if b.walBytes() == 0 || segments() != 1 {
		t.Fatalf("%d bytes in %d segments of the log after two small flushes", b.walBytes(), segments())
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	must(t, b.Flush()) // nothing to flush: what is left goes
	if b.walBytes() != 0 {
		t.Errorf("%d bytes are left in the log of an idle bucket", b.walBytes())
	}
	check("after the log was cut")
	putAndFlush()
	check("in a log begun again")
	must(t, b.Close())

	want = want[:2]
	b = open(t, crashed, o)
	check("after a crash")
	if s := b.Stats(); s.BufferSize != 0 {
		t.Errorf("rows of the table were replayed: %+v", s)
	}
	putAndFlush()
	must(t, b.Columns().Rename("id", "number"))
	if b.walBytes() != 0 {
		t.Errorf("%d bytes with the old columns are left in the log", b.walBytes())
	}
}
