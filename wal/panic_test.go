package wal_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
)

// TestPanic has functions that the log calls panic: it fails, all who wait are told
// so, it can be closed, and what was acknowledged is there afterwards.
func TestPanic(t *testing.T) {
	inFS := func(name string) func(*wal.Options, *atomic.Bool) {
		return func(o *wal.Options, armed *atomic.Bool) {
			o.FS = &faultfs.Hook{FS: o.FS, Before: func(op faultfs.Op) error {
				if op.Name == name && armed.Swap(false) {
					panic("injected")
				}
				return nil
			}}
		}
	}
	for name, c := range map[string]struct {
		inject func(o *wal.Options, armed *atomic.Bool)
		sync   time.Duration
		done   bool   // the callback of an entry panics
		body   string // of the entries
	}{
		"in a write":             {inject: inFS("writeat")},
		"in a write, unsynced":   {inject: inFS("writeat"), sync: time.Hour},
		"in a sync":              {inject: inFS("datasync")},
		"in a background sync":   {inject: inFS("datasync"), sync: time.Millisecond},
		"in a rotation":          {inject: inFS("create"), body: strings.Repeat("x", 900)},
		"in a rename":            {inject: inFS("rename"), body: strings.Repeat("x", 900)},
		"in a callback":          {inject: func(*wal.Options, *atomic.Bool) {}, done: true},
		"in a callback of a put": {inject: func(*wal.Options, *atomic.Bool) {}, done: true, sync: time.Hour},
		"in the observer": {inject: func(o *wal.Options, armed *atomic.Bool) {
			o.Observer.Wrote = func(int, int64) {
				if armed.Swap(false) {
					panic("injected")
				}
			}
		}},
		"in the advance": {sync: time.Hour, inject: func(o *wal.Options, armed *atomic.Bool) {
			o.OnAdvance = func(int64) {
				if armed.Swap(false) {
					panic("injected")
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := faultfs.NewMem()
			o := options(disk)
			o.SyncInterval = c.sync
			var armed atomic.Bool
			c.inject(&o, &armed)
			told := make(chan error, 16)
			o.Panicked = func(err error) { told <- err }
			l, _, _ := open(t, o, 0)
			put(t, l, "p", "before", 2)

			armed.Store(true)
			var settled atomic.Int64
			queued := 0
			for range 5 {
				_, err := l.AppendNow([]byte("p"), [][]byte{[]byte(c.body)}, 1, func(error) {
					settled.Add(1)
					if c.done && armed.Swap(false) {
						panic("injected")
					}
				})
				if err != nil {
					break
				}
				queued++
			}
			select {
			case err := <-told:
				if !strings.Contains(err.Error(), "injected") || !strings.Contains(err.Error(), "panic_test.go") {
					t.Errorf("told of %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("nobody was told")
			}
			for deadline := time.Now().Add(10 * time.Second); l.Err() == nil && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			ctx, cancel := context.WithTimeout(background, 10*time.Second)
			defer cancel()
			if err := l.Wait(ctx, 1<<40); !errors.Is(err, wal.ErrFailed) {
				t.Errorf("a wait ends with %v", err)
			}
			if _, err := l.Append([]byte("p"), nil, 1, nil); !errors.Is(err, wal.ErrFailed) || !strings.Contains(err.Error(), "injected") {
				t.Errorf("an append ends with %v", err)
			}
			if err := l.Sync(ctx); !errors.Is(err, wal.ErrFailed) && l.Acknowledged() < l.Appended() {
				t.Errorf("a sync ends with %v", err)
			}
			if err := l.Cut(l.Acknowledged()); !errors.Is(err, wal.ErrFailed) {
				t.Errorf("a cut ends with %v", err)
			}
			acknowledged := l.Acknowledged()
			if err := l.Close(); !errors.Is(err, wal.ErrFailed) {
				t.Errorf("closed with %v", err)
			}
			if settled.Load() != int64(queued) {
				t.Errorf("%d of %d entries were settled", settled.Load(), queued)
			}
			o = options(disk)
			again, entries, _ := open(t, o, 0)
			if last := entries[len(entries)-1]; last.first+last.rows < acknowledged {
				t.Errorf("the log ends at row %d, %d were acknowledged", last.first+last.rows, acknowledged)
			}
			closeLog(t, again)
		})
	}
}

// TestPanicInCall has a function that runs on the writer panic.
func TestPanicInCall(t *testing.T) {
	disk := faultfs.NewMem()
	var armed atomic.Bool
	o := options(&faultfs.Hook{FS: disk, Before: func(op faultfs.Op) error {
		if op.Name == "remove" && armed.Swap(false) {
			panic("injected")
		}
		return nil
	}})
	l, _, _ := open(t, o, 0)
	put(t, l, "p", "body", 1)
	armed.Store(true)
	if err := l.Cut(1); !errors.Is(err, wal.ErrFailed) || !strings.Contains(err.Error(), "injected") {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); !errors.Is(err, wal.ErrFailed) {
		t.Errorf("closed with %v", err)
	}
}
