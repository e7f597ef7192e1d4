package kv

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"golang.org/x/sys/unix"
)

// filledIndex is an index with so many entries, of segments with 170 blocks, as blocks of 1.5 MiB have.
func filledIndex(n int) *index {
	const perSegment = 170
	x := &index{perSegment: perSegment, segments: make([]*segment, n/perSegment+1)}
	for i := range n {
		slot := i / perSegment
		if x.segments[slot] == nil {
			x.segments[slot] = &segment{Segment: &blob.Segment{Slot: uint32(slot)}}
			if slot > 0 {
				x.segments[slot].expect(x.segments[slot-1].entryCount())
			}
		}
		hash := hashOf(i)
		t := x.shard(hash)
		ref := uint32(slot*perSegment) + x.segments[slot].add(entry{hash: hash, state: liveBit})
		x.put(t, hash, ref)
	}
	return x
}

func hashOf(i int) uint64 {
	h := uint64(i)*0x9e3779b97f4a7c15 + 1
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

// TestIndexAgainstMap puts and removes at random.
func TestIndexAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := &index{perSegment: 1 << 20, segments: []*segment{{Segment: &blob.Segment{}}}}
	want := map[uint64]uint32{}
	for range 300000 {
		hash := hashOf(rng.IntN(20000)) &^ (0xf << 60) // few shards, and long runs
		table := x.shard(hash)
		if i := x.find(table, hash); rng.IntN(2) == 0 {
			ref, ok := want[hash]
			if ok != (i >= 0) || ok && table.refs[i] != ref {
				t.Fatalf("%x: place %d, want %v", hash, i, ok)
			}
			if ok {
				x.remove(table, i)
				delete(want, hash)
			}
			continue
		}
		ref := x.segments[0].add(entry{hash: hash})
		before, ok := want[hash]
		if got := x.put(table, hash, ref); ok && got != before || !ok && got != noRef {
			t.Fatalf("%x: before %d, want %d", hash, got, before)
		}
		want[hash] = ref
	}
	used := 0
	for i := range x.shards {
		used += x.shards[i].used
	}
	if used != len(want) {
		t.Errorf("%d entries, want %d", used, len(want))
	}
}

// cpu is the processor time of the process: the machine may do other things as well.
func cpu() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// keysToTry is PERSISTING_KEYS, or that many where it is not said.
func keysToTry(t *testing.T, n int) int {
	t.Helper()
	if text := os.Getenv("PERSISTING_KEYS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestIndexSize measures what an index takes: 10^6 keys, or PERSISTING_KEYS of them.
func TestIndexSize(t *testing.T) {
	n := keysToTry(t, 1_000_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := cpu()
	x := filledIndex(n)
	built := cpu() - begun
	runtime.GC()
	runtime.ReadMemStats(&after)
	begun = cpu()
	runtime.GC()
	collected := cpu() - begun
	each := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
	table := 0
	for i := range x.shards {
		table += 5 * len(x.shards[i].refs)
	}
	begun = cpu()
	for i := range n {
		hash := hashOf(i)
		shard := x.shard(hash)
		shard.mu.Lock()
		if x.find(shard, hash) < 0 {
			t.Fatalf("%d is not there", i)
		}
		shard.mu.Unlock()
	}
	t.Logf("%d keys: %.1f bytes each in tables, %.1f in all; built in %v, full collection %v, %.0f ns a lookup",
		n, float64(table)/float64(n), each, built, collected, float64((cpu()-begun).Nanoseconds())/float64(n))
	if each > 52 {
		t.Errorf("%.1f bytes a key, want at most 52", each)
	}
	runtime.KeepAlive(x)
}
