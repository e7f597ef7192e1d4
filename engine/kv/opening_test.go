package kv

import (
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
)

// sparse makes segments without giving them room on the disk, so that there can be many.
type sparse struct{ vfs.FS }

type sparseFile struct{ vfs.File }

func (s sparse) Create(path string) (vfs.File, error) {
	f, err := s.FS.Create(path)
	return sparseFile{f}, err
}

func (f sparseFile) Preallocate(size int64) error { return f.Truncate(size) }

// taken is the memory that the process has from the system for its heap.
func taken() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapSys - m.HeapReleased)
}

// TestOpeningOfManyKeys measures an opening and the memory that the process takes for it, garbage included: 3 * 10^5 keys, or
// PERSISTING_KEYS of them. The blocks themselves are not written: no opening after a Close reads them.
func TestOpeningOfManyKeys(t *testing.T) {
	n := keysToTry(t, 300_000)
	dir := t.TempDir()
	o := Options{FS: sparse{vfs.OS}, CapacityBytes: int64(n) * blob.TakenBytes(1) * 5 / 4, Sync: "never", manual: true}
	s := open(t, dir, o)
	space, err := s.Space("", "")
	if err != nil {
		t.Fatal(err)
	}
	pages := make([]uint32, n)
	for i := range n {
		g, page, err := s.reserve(main, 1)
		if err != nil {
			t.Fatal(err)
		}
		table := s.index.shard(hashOf(i))
		table.mu.Lock()
		s.insertLocked(table, g, entry{hash: hashOf(i), page: page, length: 1, sum: uint32(i), state: space | liveBit})
		table.mu.Unlock()
		g.endWrite()
		pages[i] = page
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	before, used, begun := taken(), cpu(), time.Now()
	s = open(t, dir, o)
	took, worked, each := time.Since(begun), cpu()-used, float64(taken()-before)/float64(n)
	t.Logf("%d keys: open in %v, %v of processor time, %.1f bytes each", n, took, worked, each)
	if each > 64 {
		t.Errorf("%.1f bytes a key, want at most 64", each)
	}
	if s.walks != 0 || s.Stats().Keys != int64(n) {
		t.Errorf("%d segments were walked for %d keys, want none for %d", s.walks, s.Stats().Keys, n)
	}
	for i := range n {
		table := s.index.shard(hashOf(i))
		at := s.index.find(table, hashOf(i))
		if at < 0 {
			t.Fatalf("key %d is not there", i)
		}
		if e := s.index.entry(table.refs[at]); e.page != pages[i] || e.sum != uint32(i) {
			t.Fatalf("key %d is %+v, want page %d", i, e, pages[i])
		}
	}
}

// TestAnOpeningForgetsNothing compares a store that is closed and opened again with what it was, and what it forgets afterwards with
// what one forgets that stays open.
func TestAnOpeningForgetsNothing(t *testing.T) {
	for _, policy := range []string{"s3fifo", "lru", "lfu", "fifo"} {
		t.Run(policy, func(t *testing.T) {
			var left [2][]string
			for i, reopen := range []bool{false, true} {
				f := newFixture(t, func(o *Options) { o.Policy = policy })
				f.fill(t)
				before := f.Stats()
				if reopen {
					f.reopen()
				}
				after := f.Stats()
				if before.PinnedBytes == 0 || after.PinnedBytes != before.PinnedBytes || after.Keys != before.Keys ||
					!maps.Equal(after.Namespaces, before.Namespaces) || !maps.Equal(after.Salts, before.Salts) {
					t.Errorf("opened with %+v,\nclosed with %+v", after, before)
				}
				f.allowance = 0 // which begins with the opening
				for n := range 30 {
					f.must(fmt.Sprintf("later %d", n), 15000)
				}
				for n := range 60 {
					if key := fmt.Sprintf("key %d", n); f.has(key) {
						left[i] = append(left[i], key)
					}
				}
			}
			if !slices.Equal(left[0], left[1]) || len(left[0]) == 0 || len(left[0]) == 60 {
				t.Errorf("%q are left after an opening,\n%q without", left[1], left[0])
			}
		})
	}
}

// fill sets 60 blocks, of which some are read, one is pinned, and some are of another salt.
func (f *fixture) fill(t *testing.T) {
	t.Helper()
	salted, err := f.Space("model", "salt")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		f.must(fmt.Sprintf("key %d", i), 15000)
		for _, read := range []int{i / 2, i / 3, 7} {
			get(t, f.Store, 0, fmt.Sprintf("key %d", read))
		}
	}
	if r := set(t, f.Store, salted, "salted", payload("salted", 1, 15000)); r != transfer.OK {
		t.Fatalf("set: result %d", r)
	}
	if ok, err := f.Pin(0, []byte("key 50")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := f.SetQuota("salt", 50_000); err != nil {
		t.Fatal(err)
	}
}
