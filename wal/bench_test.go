package wal_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

const benchBytes = 400

// BenchmarkRaw is the disk without a log: 400 bytes appended to a preallocated file, then fdatasync.
func BenchmarkRaw(b *testing.B) {
	f, err := vfs.OS.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Preallocate(64 << 20); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	body := [][]byte{[]byte(content(0, 0, benchBytes))}
	off := int64(0)
	for b.Loop() {
		if err := f.WriteAt(body, off%(63<<20)); err != nil {
			b.Fatal(err)
		}
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
		off += benchBytes
	}
	perSecond(b)
	_ = f.Close()
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func benchLog(b *testing.B, interval time.Duration) *wal.Log {
	l, _, err := wal.Open(wal.Options{Dir: b.TempDir(), SyncInterval: interval}, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeLog(b, l) })
	return l
}

// BenchmarkPut is one writer that waits for each entry.
func BenchmarkPut(b *testing.B) {
	for _, name := range []string{"synced", "background", "background, now"} {
		b.Run(name, func(b *testing.B) {
			interval := time.Second
			if name == "synced" {
				interval = 0
			}
			l := benchLog(b, interval)
			add := l.Append
			if name == "background, now" {
				add = l.AppendNow
			}
			body := [][]byte{[]byte(content(0, 0, benchBytes))}
			put(b, l, "p", "first", 1)
			b.ReportAllocs()
			for b.Loop() {
				first, err := add([]byte("p"), body, 1, nil)
				if err == nil {
					err = l.Wait(background, first+1)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b)
		})
	}
}

// BenchmarkWriters is many writers that each wait for their own.
func BenchmarkWriters(b *testing.B) {
	for name, interval := range map[string]time.Duration{"synced": 0, "background": time.Second} {
		for _, writers := range []int{8, 64} {
			b.Run(fmt.Sprint(name, "/", writers), func(b *testing.B) {
				l := benchLog(b, interval)
				body := [][]byte{[]byte(content(0, 0, benchBytes))}
				var left atomic.Int64
				left.Store(int64(b.N))
				var group sync.WaitGroup
				b.ResetTimer()
				for range writers {
					group.Go(func() {
						for left.Add(-1) >= 0 {
							first, err := l.Append([]byte("p"), body, 1, nil)
							if err == nil {
								err = l.Wait(background, first+1)
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				perSecond(b)
			})
		}
	}
}

// BenchmarkStream appends without waiting, up to a thousand entries ahead.
func BenchmarkStream(b *testing.B) {
	for name, interval := range map[string]time.Duration{"synced": 0, "background": time.Second} {
		for _, size := range []int{benchBytes, 1 << 20} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				l := benchLog(b, interval)
				body := [][]byte{[]byte(content(0, 0, size))}
				b.SetBytes(int64(size))
				ahead := int64(min(1000, 64<<20/size))
				for b.Loop() {
					first, err := l.Append([]byte("p"), body, 1, nil)
					if err == nil {
						err = l.Wait(background, first-ahead)
					}
					if err == nil && first%1000 == 0 {
						err = l.Cut(l.Acknowledged())
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				if err := l.Sync(background); err != nil {
					b.Fatal(err)
				}
				perSecond(b)
			})
		}
	}
}

// BenchmarkRotate makes a segment for every entry.
func BenchmarkRotate(b *testing.B) {
	l := benchLog(b, 0)
	for i := 0; b.Loop(); i++ {
		e := put(b, l, fmt.Sprint("p", i%2), "x", 1)
		if i%16 == 0 {
			if err := l.Cut(e.first); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkReplay reads a log of 256 MiB from the page cache.
func BenchmarkReplay(b *testing.B) {
	for _, size := range []int{benchBytes, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			o := wal.Options{Dir: b.TempDir(), SyncInterval: time.Hour}
			l, _, err := wal.Open(o, 0, nil)
			if err != nil {
				b.Fatal(err)
			}
			body := [][]byte{[]byte(content(0, 0, size))}
			for range 256 << 20 / size {
				if _, err := l.Append([]byte("p"), body, 1, nil); err != nil {
					b.Fatal(err)
				}
			}
			closeLog(b, l)
			b.SetBytes(256 << 20)
			for b.Loop() {
				entries := 0
				l, _, err := wal.Open(o, 0, func(segment.Entry) error { entries++; return nil })
				if err != nil || entries != 256<<20/size {
					b.Fatal(entries, err)
				}
				b.StopTimer()
				closeLog(b, l)
				b.StartTimer()
			}
		})
	}
}
