package wal

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

func TestAppendHereSyncsWhileTheDiskIsQuick(t *testing.T) {
	disk := &slowDisk{FS: OS}
	l, _, err := Open(Options{Dir: t.TempDir(), FS: disk}, 0, nil)
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
	put := func() (atOnce bool) {
		t.Helper()
		var called atomic.Bool
		first, err := l.AppendHere(nil, [][]byte{[]byte("body")}, 1, func(error) { called.Store(true) })
		if err != nil {
			t.Fatal(err)
		}
		atOnce = called.Load()
		if err := l.Wait(context.Background(), first+1); err != nil {
			t.Fatal(err)
		}
		return atOnce
	}
	quick := 0
	for range 1000 {
		if put() {
			quick++
		}
	}
	if quick == 0 {
		t.Fatal("no entry was synced by its caller")
	}
	disk.delay.Store(int64(20 * time.Millisecond))
	slow := 0
	for range 20 {
		if put() {
			slow++
		}
	}
	if slow > 1 {
		t.Fatalf("%d of 20 slow syncs were left to callers", slow)
	}
	disk.delay.Store(0)
	for i := 0; !put(); i++ {
		if i == 10_000 {
			t.Fatal("callers never sync again after the disk was slow")
		}
	}
}

// slowDisk delays synced writes, in nanoseconds.
type slowDisk struct {
	FS
	delay atomic.Int64
}

func (d *slowDisk) Create(path string) (File, error) {
	f, err := d.FS.Create(path)
	return &slowFile{f, d}, err
}

type slowFile struct {
	File
	disk *slowDisk
}

func (f *slowFile) WriteSync(pieces [][]byte, at int64) error {
	time.Sleep(time.Duration(f.disk.delay.Load()))
	return f.File.WriteSync(pieces, at)
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
					add := []func([]byte, [][]byte, int64, func(error)) (int64, error){l.Append, l.AppendNow, l.AppendHere}[w%3]
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
			l, _, err = Open(o, 0, func(e Entry) error {
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
