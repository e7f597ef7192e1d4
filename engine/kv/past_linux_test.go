package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

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
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	s.passed = newRecent(passedLimit)
}

// TestWhatIsReadAgainComesIntoMemory reads a block from the disk, which leaves the page cache as it is, and once more.
func TestWhatIsReadAgainComesIntoMemory(t *testing.T) {
	s, err := Open(t.TempDir(), Options{CapacityBytes: 64 << 20, Sync: "never"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	block, key := bytes.Repeat([]byte("block"), 300_000), []byte("key")
	batch := &transfer.Batch{Items: []transfer.Item{{Key: key, Pieces: [][]byte{block}}}, Results: make([]int8, 1)}
	if batch.Space, err = s.Space("model", ""); err == nil {
		err = s.Set(batch)
	}
	if err != nil || batch.Results[0] != transfer.OK {
		t.Fatal(err, batch.Results)
	}
	forget(t, s)
	if !away(t, s, batch.Space, key, len(block)) {
		t.Skip("the file system does not say what is in memory, or keeps it there")
	}
	got := make([]byte, len(block))
	batch.Items[0].Pieces[0] = got
	for i, want := range []bool{true, false, false} {
		clear(got)
		if err := s.Get(batch); err != nil || batch.Results[0] != transfer.OK || !bytes.Equal(got, block) {
			t.Fatalf("read %d: %v, %v", i, err, batch.Results)
		}
		if away(t, s, batch.Space, key, len(block)) != want {
			t.Errorf("after read %d it is away: %v", i, !want)
		}
	}
}

// away says whether a block would be read past the page cache, if the file system has such reads.
func away(t *testing.T, s *Store, space uint32, key []byte, length int) (is bool) {
	t.Helper()
	o, err := s.space(space)
	if err != nil {
		t.Fatal(err)
	}
	l, result := s.lend(o, key, int64(length), func(g *segment, w blob.Want) error {
		f, err := vfs.OS.Open(s.blobs.Path(g.Slot))
		if err != nil {
			return err
		}
		defer f.Close()
		is = g.Away(w) && vfs.GoDirect(f) > 0
		return nil
	})
	if result != transfer.OK {
		t.Fatal(result)
	}
	l.segment.leave()
	return is
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
