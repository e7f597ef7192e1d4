package bucket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// lazy is the file system of the machine without its syncs, which only take
// time where nothing loses power.
type lazy struct{ vfs.FS }

type lazyFile struct{ vfs.File }

func lazily(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lazyFile{f}, nil
}

func (l lazy) Create(path string) (vfs.File, error)    { return lazily(l.FS.Create(path)) }
func (l lazy) Open(path string) (vfs.File, error)      { return lazily(l.FS.Open(path)) }
func (l lazy) OpenWrite(path string) (vfs.File, error) { return lazily(l.FS.OpenWrite(path)) }
func (lazy) SyncDir(string) error                      { return nil }
func (lazyFile) Sync() error                           { return nil }
func (f lazyFile) WriteSync(pieces [][]byte, off int64) error {
	return f.WriteAt(pieces, off)
}

func (lazyFile) Datasync() error                { return nil }
func (f lazyFile) Preallocate(size int64) error { return f.Truncate(size) }

// harmless are the faults after which a bucket takes writes: what was to be removed stays.
var harmless = regexp.MustCompile("wal: cut|engine: read tags")

// script is a bucket that goes through all that writes, and what came of it.
type script struct {
	t      *testing.T
	cause  error
	what   string // that fails
	b      *Bucket
	rows   []row   // acknowledged
	maybe  []row   // of puts that failed
	faults []error // of this life
	refuse bool    // a write or a sync has failed
}

// step runs one step and looks at its error.
func (s *script) step(name string, writes bool, do func() error) error {
	s.t.Helper()
	err := do()
	switch {
	case err == nil && s.refuse && writes:
		s.t.Errorf("%s: a %s goes through after %v", s.what, name, s.faults[0])
	case err == nil:
		return nil
	case !errors.Is(err, s.cause):
		s.t.Errorf("%s: %s: %v", s.what, name, err)
	case name != "open" && !errors.Is(err, engine.ErrPoisoned) && !harmless.MatchString(err.Error()):
		s.t.Errorf("%s: %s does not say that the bucket takes no more writes: %v", s.what, name, err)
	}
	s.refuse = s.refuse || errors.Is(err, engine.ErrPoisoned)
	s.faults = append(s.faults, err)
	return err
}

func (s *script) put(rows ...row) {
	s.t.Helper()
	rec := recordOf(rows, rows[0].value != float64(int64(rows[0].value)))
	defer rec.Release()
	err := s.step("put", true, func() error {
		_, end, err := s.b.Append(Record{Rows: rec}, false)
		if err == nil {
			err = s.b.Wait(background, end)
		}
		return err
	})
	if err == nil {
		s.rows = append(s.rows, rows...)
	} else {
		s.maybe = append(s.maybe, rows...)
	}
}

// live runs one life of the bucket.
func (s *script) live(dir string, o options.Options, value float64, flushes int) {
	s.t.Helper()
	s.faults, s.refuse = nil, false
	if s.step("open", false, func() (err error) { s.b, err = Open(dir, o); return err }) != nil {
		return
	}
	s.look()
	for i := range flushes {
		s.put(row{text: "one", value: value, extra: int64(i) / 3})
		s.put(row{text: "of two", value: value + 1}, row{text: "two", value: value + 2})
		_ = s.step("flush", s.refuse && s.b.home.Cause() != nil, s.b.Flush)
	}
	s.put(row{text: "before a compaction", value: value})
	_ = s.step("compaction", false, s.b.Compact)
	s.put(row{text: "after a compaction", value: value})
	s.look()
	if text := s.b.Stats().WriteError; s.refuse && (text == nil || !strings.Contains(*text, s.cause.Error())) {
		s.t.Errorf("%s: the statistics do not say why writes are refused", s.what)
	}
	_ = s.step("close", s.refuse, s.b.Close)
}

// look reads what was acknowledged, which works whatever has failed.
func (s *script) look() {
	s.t.Helper()
	if got := contentOf(s.t, s.b); !slices.Equal(got, s.rows) {
		s.t.Errorf("%s: read %v, want %v", s.what, got, s.rows)
	}
}

func contentOf(t *testing.T, b *Bucket) []row {
	t.Helper()
	c, err := b.Read(0, 1<<20, false)
	must(t, err)
	defer c.Close()
	var got []row
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		must(t, err)
		got = append(got, rowsOf(rec)...)
		rec.Release()
	}
}

// run runs two lives; the column value is promoted in the second.
func (s *script) run(dir string, o options.Options) {
	s.t.Helper()
	s.live(dir, o, 1, 4)
	s.live(dir, o, 1.5, 1)
}

// TestEveryOperationFails lets each operation of a bucket fail: once, or with
// all that follow. Without PERSISTING_SLOW each of the ways gets every sixth
// operation.
func TestEveryOperationFails(t *testing.T) {
	ways, way := int64(6), int64(0)
	for _, c := range []struct {
		name     string
		interval time.Duration
		cut      int64
		sticky   bool
	}{
		{"synced", 0, 0, false},
		{"synced, from then on", 0, 0, true},
		{"not synced", time.Hour, 0, false},
		{"not synced, from then on", time.Hour, 0, true},
		{"small logs kept", 0, options.Default().CutBytes, false},
		{"small logs kept, from then on", time.Hour, options.Default().CutBytes, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quiet(func(o *options.Options) {
				o.WALSyncInterval, o.MaxWALBytes, o.CutBytes = c.interval, options.MinWALBytes, c.cut
			})
			count := &faultfs.Nth{}
			o.FS = &faultfs.Hook{FS: lazy{vfs.OS}, Before: count.Before}
			whole := &script{t: t, cause: errFire, what: "nothing"}
			whole.run(filepath.Join(t.TempDir(), "bucket"), o)
			if count.Count() < 200 || len(whole.rows) != 19 {
				t.Fatalf("%d operations, %d rows", count.Count(), len(whole.rows))
			}
			step := ways
			if slow() {
				step, way = 1, 0
			}
			for n := 1 + way; n <= count.Count(); n += step {
				failNth(t, o, n, c.sticky)
			}
			way++
		})
	}
}

var errFire = errors.New("the disk is on fire")

func failNth(t *testing.T, o options.Options, n int64, sticky bool) {
	t.Helper()
	root, err := os.MkdirTemp(t.TempDir(), "") //nolint:usetesting // one of many, removed at once
	must(t, err)
	defer os.RemoveAll(root)
	dir := filepath.Join(root, "bucket")
	s := &script{t: t, cause: errFire}
	nth := &faultfs.Nth{N: n, Sticky: sticky, Err: errFire}
	optional := false
	var mu sync.Mutex // files are read while others are synced
	o.FS = &faultfs.Hook{FS: lazy{vfs.OS}, Short: true, Before: func(op faultfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		err := nth.Before(op)
		if err != nil && s.what == "" {
			optional = op.Name == "stat" || strings.HasSuffix(op.Path, table.SumsFile)
			s.what = fmt.Sprintf("operation %d, %s of %s", n, op.Name, strings.TrimPrefix(op.Path, root))
		}
		return err
	}}
	s.live(dir, o, 1, 4)
	noticed := len(s.faults)
	s.live(dir, o, 1.5, 1)
	noticed += len(s.faults)
	if noticed == 0 && !optional {
		t.Errorf("%s: nobody notices", s.what)
	}
	if sticky && len(s.faults) == 0 {
		t.Errorf("%s: nothing fails later on", s.what)
	}

	o.FS = lazy{vfs.OS}
	b, err := Open(dir, o)
	if err != nil {
		t.Errorf("%s: open again: %v", s.what, err)
		return
	}
	got := contentOf(t, b)
	// Where the file system fails for good, what was refused cannot be taken back.
	least, most := s.rows, s.rows
	if sticky {
		most = append(most, s.maybe...)
	}
	if len(got) < len(least) || len(got) > len(most) || !slices.Equal(got, most[:len(got)]) {
		t.Errorf("%s: %d rows %v, want %d to %d of %v", s.what, len(got), got, len(least), len(most), most)
	}
	s.b, s.rows, s.faults, s.refuse = b, got, nil, false
	s.put(row{text: "works again", value: 2.5})
	s.look()
	must(t, b.Close())
}
