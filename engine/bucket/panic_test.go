package bucket

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// calling is what the C interface does with a call on a bucket.
func calling(b *Bucket, call func() error) (err error) {
	defer func() {
		if with := recover(); with != nil {
			err = engine.Panicked(with)
			b.Break(err)
		}
	}()
	return call()
}

// TestPanicEndsOneBucket has what a bucket does panic in several places: it takes no
// more calls but Close, after which it can be opened again with all of its rows, and
// a bucket beside it goes on.
func TestPanicEndsOneBucket(t *testing.T) {
	inMark := func(op faultfs.Op) bool { return op.Name == "datasync" && strings.HasSuffix(op.Path, table.MarkFile) }
	inTable := func(op faultfs.Op) bool { return strings.Contains(op.Path, table.Dir+"/") }
	inLog := func(name string) func(faultfs.Op) bool {
		return func(op faultfs.Op) bool { return op.Name == name && strings.Contains(op.Path, ".wal") }
	}
	flush := func(_ *testing.T, b *Bucket) { _ = calling(b, b.Flush) }
	compact := func(_ *testing.T, b *Bucket) { _ = calling(b, b.Compact) }
	put := func(t *testing.T, b *Bucket) {
		rec := someRows(t, b.Acknowledged(), 1)
		defer rec.Release()
		_ = calling(b, func() error { _, _, err := b.Append(Record{Rows: rec}, false); return err })
	}
	for name, c := range map[string]struct {
		options func(*options.Options)
		at      func(faultfs.Op) bool
		do      func(t *testing.T, b *Bucket)
	}{
		"a flush, in the mark":  {at: inMark, do: flush},
		"a flush, in the table": {at: inTable, do: flush},
		"a flush, in the sums":  {at: func(op faultfs.Op) bool { return op.Name == "readat" }, do: flush},
		"a flush, in the cut":   {at: inLog("remove"), do: flush},
		"a background flush":    {at: inTable, do: func(_ *testing.T, b *Bucket) { signal(b.flushRequested) }},
		"a compaction":          {at: inMark, do: compact},
		"a background compaction": {at: inMark, do: func(_ *testing.T, b *Bucket) {
			b.table.Reshaping.Lock()
			b.opts.CompactFragments = 2 // from now on
			b.table.Reshaping.Unlock()
			signal(b.compactRequested)
		}},
		"a synced put":             {at: inLog("datasync"), options: func(o *options.Options) { o.WALSyncInterval = 0 }, do: put},
		"a put":                    {at: inLog("writeat"), do: put},
		"a sync in the background": {at: inLog("datasync"), options: func(o *options.Options) { o.WALSyncInterval = 5 * time.Millisecond }, do: put},
		"a tag":                    {at: func(op faultfs.Op) bool { return op.Name == "rename" }, do: func(_ *testing.T, b *Bucket) { _ = calling(b, func() error { return b.Tag("new", 1) }) }},
	} {
		t.Run(name, func(t *testing.T) {
			set, budget := metrics.NewSet("", nil), memory.NewBudget()
			var armed atomic.Bool
			o := quiet(func(o *options.Options) {
				o.Metrics, o.Budget, o.EnableMetrics = set, budget, true
				o.FS = &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
					if c.at(op) && armed.Swap(false) {
						panic("injected")
					}
					return nil
				}}
				if c.options != nil {
					c.options(o)
				}
			})
			dir := t.TempDir()
			hurt, err := Open(filepath.Join(dir, "hurt"), o)
			must(t, err)
			o.FS = vfs.OS
			other := open(t, filepath.Join(dir, "other"), o)
			for _, b := range []*Bucket{hurt, other} {
				for range 2 {
					appendRows(t, b, 3)
					must(t, b.Flush())
				}
				appendRows(t, b, 3)
			}
			ctx, cancel := context.WithTimeout(background, 20*time.Second)
			defer cancel()
			waited := make(chan error, 1)
			go func() { waited <- hurt.Wait(ctx, 1<<40) }()
			rang := make(chan struct{}, 8)
			hurt.SetWaker(func(_ int64, over bool) {
				if over {
					rang <- struct{}{}
				}
			})
			hurt.Notify(1 << 40)

			armed.Store(true)
			c.do(t, hurt)
			eventually(t, "the end of the bucket", func() bool { return hurt.Broken() != nil })
			if err := hurt.Broken(); !errors.Is(err, engine.ErrPanic) || !strings.Contains(err.Error(), "injected") || !strings.Contains(err.Error(), "panic_test.go") {
				t.Errorf("broken by %v", err)
			}
			select {
			case err := <-waited:
				if !errors.Is(err, engine.ErrPanic) {
					t.Errorf("a wait ends with %v", err)
				}
			case <-ctx.Done():
				t.Error("a wait hangs")
			}
			select {
			case <-rang:
			case <-ctx.Done():
				t.Error("nobody was woken")
			}
			rec := someRows(t, 9, 1)
			defer rec.Release()
			if _, _, err := hurt.Append(Record{Rows: rec}, false); !errors.Is(err, engine.ErrPanic) {
				t.Errorf("a put ends with %v", err)
			}
			if err := hurt.Flush(); !errors.Is(err, engine.ErrPanic) {
				t.Errorf("a flush ends with %v", err)
			}
			if s := hurt.metricsState(); !s.Poisoned || s.Rows < 9 {
				t.Errorf("a scrape sees %+v", s)
			}
			appendRows(t, other, 3)
			must(t, other.Flush())
			wantRows(t, other, 12)
			rows := hurt.Acknowledged()
			if err := hurt.Close(); !errors.Is(err, engine.ErrPanic) {
				t.Errorf("closed with %v", err)
			}
			again := open(t, hurt.home.Path, o)
			if got := again.Acknowledged(); got < rows {
				t.Errorf("%d rows, %d were acknowledged", got, rows)
			}
			wantRows(t, again, again.Acknowledged())
			must(t, again.Compact())
		})
	}
}

// TestPanicWhileOpening and while closing lets go of the lock.
func TestPanicWhileOpening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	var armed atomic.Bool
	var name string
	o := quiet(func(o *options.Options) {
		o.FS = &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
			if op.Name == name && armed.Swap(false) {
				panic("injected")
			}
			return nil
		}}
	})
	b := open(t, dir, o)
	appendRows(t, b, 3)
	must(t, b.Flush())
	appendRows(t, b, 3)
	must(t, b.Close())
	for _, name = range []string{"open", "readdir", "syncdir"} {
		armed.Store(true)
		_, err := Open(dir, o)
		if armed.Load() {
			t.Errorf("%s is not called", name)
		}
		if !errors.Is(err, engine.ErrPanic) || !strings.Contains(err.Error(), "injected") {
			t.Errorf("%s: %v", name, err)
		}
		armed.Store(false)
		b := open(t, dir, o)
		wantRows(t, b, 6)
		must(t, b.Close())
	}
	b = open(t, dir, o)
	appendRows(t, b, 3)
	name = "datasync"
	armed.Store(true)
	if err := b.Close(); err == nil {
		t.Error("it closes well")
	}
	b = open(t, dir, o)
	wantRows(t, b, 9)
}

// TestPutsThatWaitForRoom are told when the bucket is poisoned meanwhile, whatever has
// poisoned it.
func TestPutsThatWaitForRoom(t *testing.T) {
	for name, poison := range map[string]func(*Bucket){
		"by a panic":           func(b *Bucket) { b.Break(engine.Panicked("injected")) },
		"by other work":        func(b *Bucket) { _ = b.home.Refuse(errors.New("injected")) },
		"by the removed table": func(b *Bucket) { _ = b.home.Refuse(engine.ErrDisowned) },
	} {
		held := make(chan struct{})
		o := quiet(func(o *options.Options) {
			o.FlushBytes = 1 << 10
			o.FS = &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
				if op.Name == "syncdir" && strings.Contains(op.Path, table.Dir) {
					<-held
				}
				return nil
			}}
		})
		b, err := Open(filepath.Join(t.TempDir(), "bucket"), o)
		must(t, err)
		put := make(chan error, 1)
		go func() {
			for {
				rec := someRows(t, 0, 100)
				_, _, err := b.Append(Record{Rows: rec}, false)
				rec.Release()
				if err != nil {
					put <- err
					return
				}
			}
		}()
		eventually(t, "a bucket that is full", func() bool {
			if !b.ingest.appending.TryLock() {
				return true
			}
			b.ingest.appending.Unlock()
			return false
		})
		time.Sleep(50 * time.Millisecond)
		poison(b)
		select {
		case err := <-put:
			if !errors.Is(err, engine.ErrPoisoned) || !strings.Contains(err.Error(), "injected") && !errors.Is(err, engine.ErrDisowned) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: a put hangs", name)
		}
		close(held)
		_ = b.Close() // it is poisoned
	}
}
