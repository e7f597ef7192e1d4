package wal

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/wal/segment"
)

func TestAppendNowAcknowledgesAtOnce(t *testing.T) {
	l, _, err := Open(Options{Dir: t.TempDir(), SyncInterval: time.Hour}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(nil, [][]byte{[]byte("makes the segment")}, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	atOnce := 0
	for i := range int64(100) {
		called := false
		if _, err := l.AppendNow(nil, [][]byte{[]byte("body")}, 1, func(error) { called = true }); err != nil {
			t.Fatal(err)
		}
		if called && l.Acknowledged() == i+2 {
			atOnce++
			continue
		}
		// The machine was slow, and the writer does it.
		if err := l.Wait(context.Background(), i+2); err != nil {
			t.Fatal(err)
		}
	}
	if atOnce == 0 {
		t.Fatal("no entry was written by its caller")
	}
}

func TestAppendNowBesideAppend(t *testing.T) {
	for name, interval := range map[string]time.Duration{"synced": 0, "written": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := Options{Dir: dir, SyncInterval: interval, SegmentBytes: 16 << 10}
			l, _, err := Open(o, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			var (
				group sync.WaitGroup
				rows  atomic.Int64
				acks  atomic.Int64
			)
			for w := range 8 {
				group.Go(func() {
					add := l.Append
					if w%2 == 0 {
						add = l.AppendNow
					}
					for i := range 100 {
						preamble := []byte{byte(i / 50)}
						first, err := add(preamble, [][]byte{make([]byte, 100)}, 2, func(err error) {
							if err == nil {
								acks.Add(2)
							}
						})
						if err != nil {
							t.Error(err)
							return
						}
						rows.Add(2)
						if err := l.Wait(context.Background(), first+2); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			next := int64(0)
			l, _, err = Open(o, 0, func(e segment.Entry) error {
				if e.First != next {
					t.Errorf("an entry at row %d, want %d", e.First, next)
				}
				next += e.Rows
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if next != rows.Load() || acks.Load() != rows.Load() {
				t.Fatalf("appended %d rows, acknowledged %d, read back %d", rows.Load(), acks.Load(), next)
			}
		})
	}
}
