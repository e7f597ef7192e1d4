package bucket

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// full is a file system whose disk is full while on is set.
type full struct {
	faultfs.Hook
	on atomic.Bool
}

func newFull() *full {
	f := &full{}
	f.FS, f.Short = lazy{vfs.OS}, true
	f.Before = func(op faultfs.Op) error {
		switch op.Name {
		case "create", "writeat", "preallocate", "mkdirall":
			if f.on.Load() {
				return &os.PathError{Op: op.Name, Path: op.Path, Err: syscall.ENOSPC}
			}
		}
		return nil
	}
	return f
}

// numberedRows are n rows, counted on from those that there are.
func numberedRows(have []row, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{text: strings.Repeat("x", i%50), value: float64(len(have) + i + 1)}
	}
	return rows
}

func putRows(b *Bucket, rows []row) error {
	rec := recordOf(rows, false)
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	if err == nil {
		err = b.Wait(background, end)
	}
	return err
}

func TestDiskFull(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		before   int  // rows in the bucket when the disk gets full
		flushed  bool // they are in the table
		do       func(*Bucket) error
	}{
		"first put":                    {0, 0, false, func(b *Bucket) error { return putRows(b, numberedRows(nil, 3)) }},
		"put":                          {0, 20, false, func(b *Bucket) error { return putRows(b, numberedRows(nil, 300)) }},
		"put that is synced later":     {time.Hour, 20, false, func(b *Bucket) error { return putRows(b, numberedRows(nil, 300)) }},
		"put into a new segment":       {0, 20, true, func(b *Bucket) error { return putRows(b, numberedRows(nil, 3)) }},
		"put of more than a segment":   {0, 20, false, func(b *Bucket) error { return putRows(b, numberedRows(nil, 60_000)) }},
		"first flush":                  {0, 20, false, (*Bucket).Flush},
		"flush, without a sync so far": {time.Hour, 20, false, (*Bucket).Flush},
	} {
		t.Run(name, func(t *testing.T) {
			dir, disk := filepath.Join(t.TempDir(), "bucket"), newFull()
			o := quiet(func(o *options.Options) {
				o.FS = disk
				o.WALSyncInterval = c.interval
				o.MaxWALBytes = options.MinWALBytes
			})
			b := open(t, dir, o)
			var rows []row
			if c.before > 0 {
				rows = numberedRows(nil, c.before)
				must(t, putRows(b, rows))
			}
			if c.flushed {
				must(t, b.Flush())
			}
			disk.on.Store(true)
			if err := c.do(b); !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, engine.ErrPoisoned) || !strings.Contains(err.Error(), "no space left") {
				t.Fatalf("on a full disk: %v", err)
			}
			late, cancel := context.WithDeadline(background, time.Now())
			if err := b.Wait(late, 1<<40); b.log.Err() != nil && !errors.Is(err, engine.ErrPoisoned) {
				t.Fatalf("to look for more on a full disk: %v", err)
			}
			cancel()
			if got := contentOf(t, b); !slices.Equal(got, rows) {
				t.Fatalf("%d rows are read from a full disk, want %d", len(got), len(rows))
			}
			if _, err := Open(filepath.Join(t.TempDir(), "new"), o); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("a new bucket on a full disk: %v", err)
			}
			if err := b.Close(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("close on a full disk: %v", err)
			}
			// A bucket can be opened and read as long as nothing has to be written.
			if b, err := Open(dir, o); err == nil {
				if got := contentOf(t, b); !slices.Equal(got, rows) {
					t.Fatalf("%d rows after opening on a full disk, want %d", len(got), len(rows))
				}
				_ = b.Close()
			} else if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("open on a full disk: %v", err)
			}
			disk.on.Store(false)
			b = open(t, dir, o)
			if got := contentOf(t, b); !slices.Equal(got, rows) {
				t.Fatalf("%d rows after space was made, want %d", len(got), len(rows))
			}
			more := numberedRows(rows, 5)
			must(t, putRows(b, more))
			must(t, b.Flush())
			if got := contentOf(t, b); !slices.Equal(got, append(rows, more...)) {
				t.Fatalf("%d rows after another put", len(got))
			}
		})
	}
}

// TestDiskFullForLance fills a small file system for real, so that Lance runs out
// of space. The file system is mounted in a namespace of the test's own.
func TestDiskFullForLance(t *testing.T) {
	if dir := os.Getenv("PERSISTING_TEST_FULL"); dir != "" {
		if err := syscall.Mount("small", dir, "tmpfs", 0, "size=8m"); err != nil {
			t.Logf("cannot mount: %v", err)
			os.Exit(7)
		}
		for name, run := range map[string]func(*testing.T, string){
			"first flush": fullAtFirstFlush, "flush": fullAtFlush, "compaction": fullAtCompaction, "promotion": fullAtPromotion,
		} {
			t.Run(name, func(t *testing.T) {
				sub := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
				run(t, sub)
				must(t, os.RemoveAll(sub))
			})
		}
		return
	}
	inside := exec.Command(os.Args[0], "-test.run", "^TestDiskFullForLance$", "-test.v")
	inside.Env = append(os.Environ(), "PERSISTING_TEST_FULL="+t.TempDir())
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := inside.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		if !strings.Contains(string(out), "--- PASS: TestDiskFullForLance/flush") {
			t.Fatalf("the test did not run:\n%s", out)
		}
	case errors.As(err, &exit) && exit.ExitCode() != 7:
		t.Fatalf("%v\n%s", err, out)
	default:
		t.Skipf("no file system can be mounted here: %v; TestDiskFull fills the log's part of the disk", err)
	}
}

// fill takes all space of the file system but some bytes, until release.
func fill(t *testing.T, dir string, leave int64) (release func()) {
	t.Helper()
	var s syscall.Statfs_t
	must(t, syscall.Statfs(dir, &s))
	path := filepath.Join(filepath.Dir(dir), "filler")
	f, err := os.Create(path)
	must(t, err)
	must(t, syscall.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-leave))
	must(t, f.Close())
	t.Cleanup(func() { _ = os.Remove(path) })
	return func() { must(t, os.Remove(path)) }
}

// bulky are n rows of about a kilobyte that do not compress.
func bulky(seed uint64, n int) []row {
	rng := rand.New(rand.NewPCG(seed, 0))
	rows := make([]row, n)
	for i := range rows {
		text := make([]byte, 1000)
		for j := range text {
			text[j] = ' ' + byte(rng.IntN(95))
		}
		rows[i] = row{text: string(text), value: float64(rng.Int64N(1 << 50))}
	}
	return rows
}

// wantNoSpace checks an error of Lance's on a full disk, and that nothing is lost
// by it: neither in the bucket, nor when its process dies now.
func wantNoSpace(t *testing.T, b *Bucket, err error, rows []row) {
	t.Helper()
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "no space left") {
		t.Fatalf("on a full disk: %v", err)
	}
	if got := contentOf(t, b); !slices.Equal(got, rows) {
		t.Fatalf("%d rows are read from a full disk, want %d", len(got), len(rows))
	}
	again := open(t, crash(t, b.home.Path), quiet())
	if got := contentOf(t, again); !slices.Equal(got, rows) {
		t.Fatalf("%d rows in what is left of a process that died then, want %d", len(got), len(rows))
	}
}

// wantSpace checks that the bucket works, and again after it was opened anew.
func wantSpace(t *testing.T, b *Bucket, rows []row) {
	t.Helper()
	must(t, b.Flush())
	must(t, b.Compact())
	if got := contentOf(t, b); !slices.Equal(got, rows) {
		t.Fatalf("%d rows after space was made, want %d", len(got), len(rows))
	}
	must(t, b.Close())
	b = open(t, b.home.Path, b.opts)
	if got := contentOf(t, b); !slices.Equal(got, rows) {
		t.Fatalf("%d rows after opening, want %d", len(got), len(rows))
	}
	must(t, b.Close())
}

// small are options for a small file system.
func small() options.Options { return quiet(func(o *options.Options) { o.MaxWALBytes = 4 << 20 }) }

func fullAtFirstFlush(t *testing.T, dir string) {
	b := open(t, dir, small())
	rows := bulky(1, 1000)
	must(t, putRows(b, rows))
	for _, left := range []int64{0, 4 << 10, 300 << 10} { // there is no space for a manifest, a file, the end of a file
		release := fill(t, dir, left)
		wantNoSpace(t, b, b.Flush(), rows)
		release()
	}
	wantSpace(t, b, rows)
}

func fullAtFlush(t *testing.T, dir string) {
	b := open(t, dir, small())
	rows := bulky(1, 500)
	must(t, putRows(b, rows))
	must(t, b.Flush())
	must(t, putRows(b, rows))
	rows = append(rows, rows...)
	release := fill(t, dir, 200<<10)
	wantNoSpace(t, b, b.Flush(), rows)
	release()
	wantSpace(t, b, rows)
}

func fullAtCompaction(t *testing.T, dir string) {
	b := open(t, dir, small())
	var rows []row
	for i := range uint64(6) {
		more := bulky(i, 100)
		must(t, putRows(b, more))
		must(t, b.Flush())
		rows = append(rows, more...)
	}
	release := fill(t, dir, 200<<10)
	wantNoSpace(t, b, b.Compact(), rows)
	release()
	wantSpace(t, b, rows)
}

func fullAtPromotion(t *testing.T, dir string) {
	b := open(t, dir, small())
	rows := bulky(1, 500)
	must(t, putRows(b, rows))
	must(t, b.Flush())
	release := fill(t, dir, 1<<10)
	rec := recordOf([]row{{text: "half", value: 0.5}}, true)
	defer rec.Release()
	_, _, err := b.Append(Record{Rows: rec}, false)
	wantNoSpace(t, b, err, rows)
	release()
	_, _, err = b.Append(Record{Rows: rec}, false)
	must(t, err)
	wantSpace(t, b, append(rows, row{text: "half", value: 0.5}))
}
