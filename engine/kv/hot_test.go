package kv

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/kv/transfer"
	"golang.org/x/sys/unix"
)

// benchmarked opens a store on the disk with blocks of a length, and returns a batch for each of them in turn.
func benchmarked(b *testing.B, capacity int64, workers, batches, items, length int) (*Store, []*transfer.Batch) {
	b.Helper()
	s, err := Open(b.TempDir(), Options{CapacityBytes: capacity, Sync: "never", Workers: workers})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	space, err := s.Space("model", "")
	if err != nil {
		b.Fatal(err)
	}
	all := make([]*transfer.Batch, batches)
	for i := range all {
		all[i] = &transfer.Batch{Space: space, Items: make([]transfer.Item, items), Results: make([]int8, items)}
		for j := range all[i].Items {
			block := make([]byte, length)
			for at := range block {
				block[at] = byte(i + j + at>>8)
			}
			all[i].Items[j] = transfer.Item{Key: fmt.Appendf(nil, "model@%08x@0@%064x", i, j), Pieces: [][]byte{block}}
		}
		if err := s.Set(all[i]); err != nil {
			b.Fatal(err)
		}
	}
	return s, all
}

// drained waits for the tickets of batches.
func drained(s *Store, count int) {
	tickets := make([]uint64, count)
	for count > 0 {
		n := s.Drain(tickets)
		if count -= n; n == 0 {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// BenchmarkLoad reads 8 batches of 16 blocks at a time from memory.
func BenchmarkLoad(b *testing.B) {
	for _, length := range []int{256 << 10, 3 << 19} {
		for _, workers := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("%dK/workers=%d", length>>10, workers), func(b *testing.B) {
				s, batches := benchmarked(b, 1<<30, workers, 8, 16, length)
				b.SetBytes(int64(len(batches) * 16 * length))
				for b.Loop() {
					for _, batch := range batches {
						if _, err := s.SubmitGet(batch); err != nil {
							b.Fatal(err)
						}
					}
					drained(s, len(batches))
				}
			})
		}
	}
}

// BenchmarkLoadAway reads blocks that are not in memory, in any order, so many at a time.
func BenchmarkLoadAway(b *testing.B) {
	for _, length := range []int{256 << 10, 3 << 19, 6 << 20} {
		for _, each := range []int{1, 8} {
			b.Run(fmt.Sprintf("%dK/each=%d", length>>10, each), func(b *testing.B) {
				s, batches := benchmarked(b, 1<<30, 0, 128<<20/length/each, each, length)
				rand.Shuffle(len(batches)*each, func(i, j int) {
					one, other := &batches[i/each].Items[i%each], &batches[j/each].Items[j%each]
					*one, *other = *other, *one
				})
				b.SetBytes(int64(len(batches) * each * length))
				for b.Loop() {
					b.StopTimer()
					forget(b, s)
					b.StartTimer()
					for _, batch := range batches {
						if err := s.Get(batch); err != nil || slices.Contains(batch.Results, transfer.Absent) {
							b.Fatal(err, batch.Results)
						}
					}
				}
			})
		}
	}
}

// forget has the system drop what it keeps of segments in memory, and the store what it knows of reads past that.
func forget(tb testing.TB, s *Store) {
	tb.Helper()
	if err := s.Flush(); err != nil {
		tb.Fatal(err)
	}
	for _, g := range s.allSegments() {
		path := s.blobs.Path(g.Slot)
		f, err := os.Open(path)
		if err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		if err != nil {
			tb.Fatal(err)
		}
		f.Close()
	}
	s.passed = newRecent(passedLimit)
}

// BenchmarkStore writes 8 batches of 16 blocks at a time under new keys, into a store that is not full.
func BenchmarkStore(b *testing.B) {
	for _, length := range []int{256 << 10, 3 << 19, 6 << 20} {
		b.Run(fmt.Sprintf("%dK", length>>10), func(b *testing.B) {
			s, batches := benchmarked(b, 3<<30, 0, 8, 128<<20/length/8, length)
			b.SetBytes(128 << 20)
			for round := byte(1); b.Loop(); round++ {
				for _, batch := range batches {
					for i := range batch.Items {
						batch.Items[i].Key[0] = round
					}
					if _, err := s.SubmitSet(batch); err != nil {
						b.Fatal(err)
					}
				}
				drained(s, len(batches))
			}
		})
	}
}

// BenchmarkSubmit submits a batch of 128 blocks, and waits for it where that is not measured.
func BenchmarkSubmit(b *testing.B) {
	for name, submit := range map[string]func(*Store, *transfer.Batch) (uint64, error){
		"get": (*Store).SubmitGet, "set": (*Store).SubmitSet,
	} {
		b.Run(name, func(b *testing.B) {
			s, batches := benchmarked(b, 1<<30, 0, 1, 128, 16<<10)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := submit(s, batches[0]); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				b.StopTimer()
				drained(s, 1)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "us/submit")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "us/p99")
		})
	}
}

// BenchmarkExists looks for 10,000 of 100,000 keys in one call.
func BenchmarkExists(b *testing.B) {
	s, batches := benchmarked(b, 1<<30, 0, 100, 1000, 1)
	keys, lengths := make([][]byte, 10000), make([]int64, 10000)
	for i := range keys {
		keys[i] = batches[i%100].Items[i/100].Key
	}
	for b.Loop() {
		if err := s.ExistsAll(batches[0].Space, keys, time.Second, lengths); err != nil {
			b.Fatal(err)
		}
	}
	if slices.Contains(lengths, -1) {
		b.Error("a key is gone")
	}
}
