package kv

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/blob"
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
