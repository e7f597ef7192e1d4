package kv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a store in memory with a clock that the test turns.
type fixture struct {
	*Store
	t     *testing.T
	o     Options
	mem   *faultfs.Mem
	clock time.Time
}

func newFixture(t *testing.T, change func(*Options)) *fixture {
	f := &fixture{t: t, mem: faultfs.NewMem(), clock: time.Unix(1e9, 0)}
	f.o = tiny(f.mem)
	f.o.Now = func() time.Time { return f.clock }
	if change != nil {
		change(&f.o)
	}
	f.reopen()
	return f
}

func (f *fixture) reopen() {
	f.t.Helper()
	if f.Store != nil {
		if err := f.Close(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.Store = open(f.t, "/kv", f.o)
	if _, err := f.Space("", ""); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) set(key string, length int) int8 {
	f.t.Helper()
	return set(f.t, f.Store, 0, key, payload(key, 1, length))
}

func (f *fixture) must(key string, length int) {
	f.t.Helper()
	if r := f.set(key, length); r != transfer.OK {
		f.t.Fatalf("set of %s: result %d", key, r)
	}
}

func (f *fixture) has(key string) bool {
	f.t.Helper()
	n, err := f.Exists(0, []byte(key), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return n >= 0
}

// churn sets as much as the store may take, several times.
func (f *fixture) churn(times int) {
	f.t.Helper()
	for i := range times * int(f.o.CapacityBytes/20000) {
		f.must(fmt.Sprintf("churn %d %d", times, i), 15000)
	}
}

func TestCapacityIsKept(t *testing.T) {
	for _, policy := range []string{"s3fifo", "lru", "lfu", "fifo"} {
		f := newFixture(t, func(o *Options) { o.Policy = policy })
		f.churn(5)
		st := f.Stats()
		if st.DiskBytes > f.o.CapacityBytes || st.Keys < 20 || st.Evicted == 0 {
			t.Errorf("%s: %+v", policy, st)
		}
		if st.Bytes != st.Keys*blob.TakenBytes(15000) {
			t.Errorf("%s: %d bytes of %d keys", policy, st.Bytes, st.Keys)
		}
		f.o.CapacityBytes /= 2
		f.reopen()
		if st := f.Stats(); st.DiskBytes > f.o.CapacityBytes || st.Keys == 0 {
			t.Errorf("%s, with half the capacity: %+v", policy, st)
		}
		f.churn(3)
		if st := f.Stats(); st.DiskBytes > f.o.CapacityBytes {
			t.Errorf("%s, after churn with half the capacity: %d bytes on the disk", policy, st.DiskBytes)
		}
	}
}

func TestPinsAndLeasesSurviveChurn(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Policy = "fifo" })
	for i := range 5 {
		f.must(fmt.Sprintf("pinned %d", i), 20000)
		if ok, err := f.Pin(0, fmt.Appendf(nil, "pinned %d", i)); !ok || err != nil {
			t.Fatal(ok, err)
		}
		f.must(fmt.Sprintf("leased %d", i), 20000)
		if n, err := f.Exists(0, fmt.Appendf(nil, "leased %d", i), 10*time.Second); n != 20000 || err != nil {
			t.Fatal(n, err)
		}
	}
	f.must("plain", 20000)
	f.churn(3)
	for i := range 5 {
		for _, key := range []string{fmt.Sprintf("pinned %d", i), fmt.Sprintf("leased %d", i)} {
			if got := get(t, f.Store, 0, key); !bytes.Equal(got, payload(key, 1, 20000)) {
				t.Errorf("%s is gone", key)
			}
		}
	}
	if f.has("plain") {
		t.Error("what nothing protected is there still")
	}
	f.clock = f.clock.Add(11 * time.Second)
	f.reopen()
	f.churn(3)
	leased := 0
	for i := range 5 {
		if f.has(fmt.Sprintf("leased %d", i)) {
			leased++
		}
		if !f.has(fmt.Sprintf("pinned %d", i)) {
			t.Errorf("pinned %d is gone after an opening", i)
		}
		if ok, err := f.Unpin(0, fmt.Appendf(nil, "pinned %d", i)); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if leased > 2 { // neighbours of many pinned ones stay, because that segment is passed over
		t.Errorf("%d of 5 are there after their leases", leased)
	}
	if st := f.Stats(); st.PinnedBytes != 0 {
		t.Errorf("%d bytes are pinned", st.PinnedBytes)
	}
	f.churn(2)
	if f.has("pinned 0") {
		t.Error("what was unpinned is there still")
	}
}

func TestPinsTakeHalfAtMost(t *testing.T) {
	f := newFixture(t, nil)
	refused := 0
	for i := range 60 {
		key := fmt.Sprintf("key %d", i)
		f.must(key, 30000)
		if _, err := f.Pin(0, []byte(key)); errors.Is(err, ErrPinned) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if st := f.Stats(); refused == 0 || st.PinnedBytes > f.o.CapacityBytes/2 || st.PinnedBytes < f.o.CapacityBytes/3 {
		t.Errorf("%d refused, %d bytes pinned", refused, st.PinnedBytes)
	}
	f.churn(2)
}

func TestAllLeasedIsFull(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 200 {
		key := fmt.Sprintf("key %d", i)
		if r := f.set(key, 30000); r == transfer.Full {
			f.clock = f.clock.Add(time.Minute)
			f.must("after the leases", 30000)
			return
		} else if r != transfer.OK {
			t.Fatalf("result %d", r)
		}
		if _, err := f.Exists(0, []byte(key), 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("leased blocks were forgotten")
}

func TestExpiry(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.TTL = 100 })
	f.must("default", 10)
	b := &transfer.Batch{Items: []transfer.Item{{Key: []byte("own"), Pieces: [][]byte{{1}}}}, TTL: 5 * time.Second, Results: make([]int8, 1)}
	if err := f.Set(b); err != nil || b.Results[0] != transfer.OK {
		t.Fatal(b.Results, err)
	}
	f.must("touched", 10)
	if ok, err := f.Touch(0, []byte("touched"), 500*time.Second); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, step := range []struct {
		after              time.Duration
		own, dflt, touched bool
	}{{0, true, true, true}, {7, false, true, true}, {102, false, false, true}, {502, false, false, false}} {
		f.clock = time.Unix(1e9, 0).Add(step.after * time.Second)
		f.reopen()
		if f.has("own") != step.own || f.has("default") != step.dflt || f.has("touched") != step.touched {
			t.Errorf("after %d seconds: %v %v %v", step.after, f.has("own"), f.has("default"), f.has("touched"))
		}
	}
}

func TestQuota(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Policy = "lru" })
	if _, err := f.Space("", "greedy"); err != nil {
		t.Fatal(err)
	}
	if err := f.SetQuota("greedy", 50000); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	greedy, err := f.Space("", "greedy")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		key := fmt.Sprintf("greedy %d", i)
		set(t, f.Store, greedy, key, payload(key, 1, 15000))
		f.must(fmt.Sprintf("modest %d", i), 15000)
	}
	for i := range 30 {
		for j := range 10 { // all are read, so all are worth it
			get(t, f.Store, 0, fmt.Sprintf("modest %d", j))
			get(t, f.Store, 0, fmt.Sprintf("greedy %d", j))
		}
		for j := range 5 {
			f.must(fmt.Sprintf("churn %d %d", i, j), 15000)
		}
	}
	st := f.Stats()
	if st.Salts["greedy"].Bytes > 50000 || st.Salts["greedy"].QuotaBytes != 50000 {
		t.Errorf("%+v", st.Salts)
	}
	left := map[string]int{}
	for i := range 10 {
		for _, who := range []string{"modest", "greedy"} {
			if f.has(fmt.Sprintf("%s %d", who, i)) {
				left[who]++
			}
		}
	}
	if left["modest"] <= left["greedy"] {
		t.Errorf("%v are left", left)
	}
}

func TestSecondHit(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Admission = "second_hit" })
	if r := f.set("a", 10); r != transfer.Refused {
		t.Errorf("first set: %d", r)
	}
	if r := f.set("a", 10); r != transfer.OK {
		t.Errorf("second set: %d", r)
	}
	if f.has("b") {
		t.Error("b is there")
	}
	if r := f.set("b", 10); r != transfer.OK {
		t.Errorf("set of a key that was asked for: %d", r)
	}
}

func TestNamespaces(t *testing.T) {
	f := newFixture(t, nil)
	other, err := f.Space("other", "")
	if err != nil {
		t.Fatal(err)
	}
	f.must("key", 100)
	set(t, f.Store, other, "key", []byte("of other"))
	if got := get(t, f.Store, other, "key"); string(got) != "of other" {
		t.Errorf("%q", got)
	}
	if n, err := f.DropNamespace("other"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for range 2 {
		if got := get(t, f.Store, 0, "key"); !bytes.Equal(got, payload("key", 1, 100)) {
			t.Errorf("%q", got)
		}
		if got := get(t, f.Store, other, "key"); got != nil {
			t.Errorf("%q", got)
		}
		// The checkpoint is lost: the headers of the blocks are all there is.
		if err := f.mem.Remove("/kv/checkpoint"); err != nil {
			t.Fatal(err)
		}
		f.abandon()
		f.Store = open(t, "/kv", f.o)
		if _, err := f.Space("", ""); err != nil {
			t.Fatal(err)
		}
		if other, err = f.Space("other", ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysInPages(t *testing.T) {
	f := newFixture(t, nil)
	want := map[string]bool{}
	for i := range 25 {
		key := fmt.Sprintf("key %d", i)
		f.must(key, 5000)
		want[key] = true
	}
	if _, err := f.Delete(0, []byte("key 7")); err != nil {
		t.Fatal(err)
	}
	delete(want, "key 7")
	pages := 0
	for from := (&Cursor{}); from != nil; pages++ {
		keys, next, err := f.Keys("", *from, 7)
		if err != nil || len(keys) > 7 {
			t.Fatal(len(keys), err)
		}
		for _, k := range keys {
			if !want[string(k.Key)] || k.Length != 5000 {
				t.Errorf("%q of %d bytes", k.Key, k.Length)
			}
			delete(want, string(k.Key))
		}
		from = next
	}
	if len(want) > 0 || pages != 4 {
		t.Errorf("%d pages without %v", pages, want)
	}
}

// TestSameBytes sets what is there already, once with a checksum that fits by chance only.
func TestSameBytes(t *testing.T) {
	f := newFixture(t, nil)
	f.must("key", 9000)
	written := f.Stats().WrittenBytes
	if r := f.set("key", 9000); r != transfer.Present || f.Stats().WrittenBytes != written {
		t.Errorf("the same bytes: result %d", r)
	}
	if r := set(t, f.Store, 0, "key", payload("key", 2, 9000)); r != transfer.OK {
		t.Errorf("other bytes: result %d", r)
	}
	if got := get(t, f.Store, 0, "key"); !bytes.Equal(got, payload("key", 2, 9000)) {
		t.Errorf("%.30q", got)
	}
	other := payload("key", 3, 9000)
	hash := f.owners.get(0).hash([]byte("key"))
	table := f.index.shard(hash)
	e, _ := f.look(table, hash)
	e.sum = blob.Checksum([][]byte{other})
	if r := set(t, f.Store, 0, "key", other); r != transfer.OK {
		t.Errorf("other bytes of the same checksum: result %d", r)
	}
	if got := get(t, f.Store, 0, "key"); !bytes.Equal(got, other) {
		t.Errorf("%.30q", got)
	}
}

// TestABlockThatIsReplacedMeanwhile has a set or a delete come between a load's look at the index and its read: what there is
// after it counts, and nothing of that is damage.
func TestABlockThatIsReplacedMeanwhile(t *testing.T) {
	var between func()
	f := newFixture(t, func(o *Options) {
		o.FS = &faultfs.Hook{FS: o.FS, Before: func(op faultfs.Op) error {
			if do := between; op.Name == "readat" && do != nil {
				between = nil
				do()
			}
			return nil
		}}
	})
	newer := payload("key", 2, 10000)
	for name, c := range map[string]struct {
		do   func()
		want []byte
	}{
		"set":    {func() { set(t, f.Store, 0, "key", newer) }, newer},
		"longer": {func() { f.must("key", 12000) }, nil},
		"delete": {func() {
			if _, err := f.Delete(0, []byte("key")); err != nil {
				t.Error(err)
			}
		}, nil},
	} {
		f.must("key", 10000)
		between = c.do
		if got := get(t, f.Store, 0, "key"); !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %d bytes, want %d", name, len(got), len(c.want))
		}
		if between != nil {
			t.Errorf("%s: nothing was read", name)
		}
	}
	st := f.Stats()
	if st.Misses["damaged"]+st.Misses["failed"] > 0 || st.Misses["length"] != 1 || st.Misses["absent"] != 1 {
		t.Errorf("misses: %v", st.Misses)
	}
}

// TestAKillInADelete ends the process before each of the operations of a delete: the block is there after it or is not, and is
// not damaged.
func TestAKillInADelete(t *testing.T) {
	for n := int64(1); ; n++ {
		nth := &faultfs.Nth{}
		f := newFixture(t, func(o *Options) {
			mem := o.FS.(*faultfs.Mem)
			o.FS = &faultfs.Hook{FS: mem, Before: func(op faultfs.Op) error {
				if nth.N > 0 && nth.Before(op) != nil {
					mem.Kill()
				}
				return nil
			}}
		})
		f.must("key", 10000)
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		nth.Err, nth.N = faultfs.ErrCrashed, n
		_, _ = f.Delete(0, []byte("key"))
		done := nth.Count() < n
		nth.N = 0
		f.mem.Kill()
		f.abandon()
		f.Store = nil
		f.reopen()
		if got := get(t, f.Store, 0, "key"); got != nil && !bytes.Equal(got, payload("key", 1, 10000)) {
			t.Errorf("killed before operation %d: %d other bytes", n, len(got))
		}
		if m := f.Stats().Misses; m["damaged"]+m["failed"] > 0 {
			t.Errorf("killed before operation %d: misses %v", n, m)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if done {
			return
		}
	}
}

// TestADeleteBesideAMove deletes a key while a copy of its block is written, which comes before or after it; what the next opening
// finds after a kill is that it was deleted.
func TestADeleteBesideAMove(t *testing.T) {
	var copying atomic.Bool
	deleted := make(chan error, 1)
	var f *fixture
	f = newFixture(t, func(o *Options) {
		o.FS = &faultfs.Hook{FS: o.FS, Before: func(op faultfs.Op) error {
			if op.Name == "writeat" && strings.HasSuffix(op.Path, ".seg") && copying.CompareAndSwap(true, false) {
				did := make(chan struct{})
				go func() {
					_, err := f.Delete(0, []byte("key"))
					close(did)
					deleted <- err
				}()
				select {
				case <-did:
				case <-time.After(50 * time.Millisecond): // it waits for the copy
				}
			}
			return nil
		}}
	})
	f.must("key", 10000)
	o, err := f.space(0)
	if err != nil {
		t.Fatal(err)
	}
	hash := o.hash([]byte("key"))
	shard := f.index.shard(hash)
	e, ref := f.look(shard, hash)
	copying.Store(true)
	f.recycling.Lock()
	err = f.move(f.segmentOf(ref), candidate{ref: ref, entry: *e})
	f.recycling.Unlock()
	if err := errors.Join(err, <-deleted); err != nil {
		t.Fatal(err)
	}
	f.mem.Kill()
	f.abandon()
	f.Store = nil
	f.reopen()
	if f.has("key") {
		t.Error("the key was deleted and is there")
	}
}

// TestTouchWaitsForNoDisk has a pin of a key wait for the journal, which must not be waited for by a touch of the same key.
func TestTouchWaitsForNoDisk(t *testing.T) {
	var hung atomic.Bool
	began, end := make(chan struct{}, 1), make(chan struct{})
	f := newFixture(t, func(o *Options) {
		o.FS = &faultfs.Hook{FS: o.FS, Before: func(op faultfs.Op) error {
			if hung.Load() && op.Name == "writeat" {
				began <- struct{}{}
				<-end
			}
			return nil
		}}
	})
	f.must("key", 10000)
	hung.Store(true)
	pinned := make(chan error)
	go func() {
		_, err := f.Pin(0, []byte("key"))
		pinned <- err
	}()
	<-began
	touched := make(chan bool)
	go func() {
		there, err := f.Touch(0, []byte("key"), 0)
		touched <- there && err == nil
	}()
	select {
	case there := <-touched:
		if !there {
			t.Error("the key was not touched")
		}
	case <-time.After(10 * time.Second):
		t.Error("the touch waits for the disk")
		go func() { <-touched }()
	}
	hung.Store(false)
	close(end)
	if err := <-pinned; err != nil {
		t.Error(err)
	}
}

// TestHungDisk has a disk that answers nothing: what only looks, and what only submits, returns; stores are shed at the bound, and
// loads that waited too long are misses.
func TestHungDisk(t *testing.T) {
	var hung atomic.Pointer[chan struct{}]
	f := newFixture(t, func(o *Options) {
		o.MaxStoreBacklogBytes = 100000
		o.FS = &faultfs.Hook{FS: o.FS, Before: func(op faultfs.Op) error {
			if c := hung.Load(); c != nil && (op.Name == "writeat" || op.Name == "readat") {
				<-*c
			}
			return nil
		}}
	})
	var clock atomic.Int64
	f.Store.o.Now = func() time.Time { return time.Unix(1e9+clock.Load(), 0) }
	f.must("key", 10000)
	c := make(chan struct{})
	hung.Store(&c)
	var results [30][]int8
	submit := func(i int, of func(*transfer.Batch) (uint64, error)) {
		results[i] = make([]int8, 1)
		b := &transfer.Batch{Items: []transfer.Item{{Key: []byte("key"), Pieces: [][]byte{make([]byte, 10000)}}}, Results: results[i]}
		begun := time.Now()
		if _, err := of(b); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("a submit took %v", took)
		}
	}
	for i := range 15 {
		submit(i, f.SubmitSet)
	}
	for i := 15; i < 30; i++ {
		submit(i, f.SubmitGet)
	}
	if !f.has("key") {
		t.Error("the key is gone")
	}
	clock.Store(60)
	close(c)
	drained, tickets := 0, make([]uint64, 7)
	for deadline := time.Now().Add(20 * time.Second); drained < 30; time.Sleep(time.Millisecond) {
		if drained += f.Drain(tickets); time.Now().After(deadline) {
			t.Fatalf("%d of 30 have ended", drained)
		}
	}
	count := map[int8]int{}
	for i, r := range results {
		if i < 15 {
			count[r[0]]++
		} else if r[0] != transfer.OK && r[0] != transfer.Shed && r[0] != transfer.Damaged {
			t.Errorf("load: result %d", r[0])
		}
	}
	if count[transfer.Shed] != 5 {
		t.Errorf("results of stores: %v", count)
	}
	if f.Stats().Misses["late"] == 0 {
		t.Error("no load was late")
	}
}

// TestManyAtOnce has readers and writers of few keys, while segments are emptied: each value is whole, and one that was set.
func TestManyAtOnce(t *testing.T) {
	o := tiny(vfs.OS)
	o.manual = false
	s := open(t, t.TempDir(), o)
	space, err := s.Space("", "")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 300 {
				key := fmt.Sprintf("key %d", (w*7+i*3)%50)
				switch (w + i) % 4 {
				case 0, 1:
					set(t, s, space, key, bytes.Repeat([]byte{byte(w), byte(i)}, 1+(i*997)%15000))
				case 2:
					if got := get(t, s, space, key); len(got) > 2 && !bytes.Equal(got[2:], got[:len(got)-2]) {
						t.Errorf("%s is a mixture", key)
					}
				case 3:
					if i%5 == 0 {
						if _, err := s.Delete(space, []byte(key)); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	group.Wait()
	st := s.Stats()
	if st.Misses["damaged"]+st.Misses["failed"]+st.NotStored["failed"]+st.WriteErrors > 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.dir, o)
	if again := s.Stats(); again.Keys != st.Keys || again.Bytes != st.Bytes || again.RecoveryWalks > 0 {
		t.Errorf("%d keys with %d bytes after opening, %d with %d before; %d walks", again.Keys, again.Bytes, st.Keys, st.Bytes, again.RecoveryWalks)
	}
}

// TestLastSubmittedWins submits sets of one key one after the other, and a delete at the end.
func TestLastSubmittedWins(t *testing.T) {
	s := open(t, t.TempDir(), tiny(vfs.OS))
	space, err := s.Space("", "")
	if err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		var last []byte
		for i := range 6 {
			last = payload("key", round*10+i%4, 100)
			b := &transfer.Batch{Space: space, Items: []transfer.Item{{Key: []byte("key"), Pieces: [][]byte{last}}}, Results: make([]int8, 1)}
			if _, err := s.SubmitSet(b); err != nil {
				t.Fatal(err)
			}
		}
		if round%5 == 0 {
			if _, err := s.Delete(space, []byte("key")); err != nil {
				t.Fatal(err)
			}
			last = nil
		}
		tickets := make([]uint64, 6)
		for n := 0; n < 6; n += s.Drain(tickets) {
			time.Sleep(50 * time.Microsecond)
		}
		if got := get(t, s, space, "key"); !bytes.Equal(got, last) {
			t.Fatalf("round %d: %.30q, want %.30q", round, got, last)
		}
	}
}

func TestWaker(t *testing.T) {
	f := newFixture(t, nil)
	rang := make(chan struct{}, 100)
	f.SetWaker(func() { rang <- struct{}{} })
	b := &transfer.Batch{Items: []transfer.Item{{Key: []byte("a"), Pieces: [][]byte{{1}}}}, Results: make([]int8, 1)}
	ticket, err := f.SubmitSet(b)
	if err != nil {
		t.Fatal(err)
	}
	<-rang
	tickets := make([]uint64, 3)
	if n := f.Drain(tickets); n != 1 || tickets[0] != ticket || b.Results[0] != transfer.OK {
		t.Errorf("%d tickets, %d, want %d; result %d", n, tickets[0], ticket, b.Results[0])
	}
}

func TestClosed(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b := &transfer.Batch{Items: []transfer.Item{{Key: []byte("a"), Pieces: [][]byte{{1}}}}, Results: make([]int8, 1)}
	for name, call := range map[string]func() error{
		"close": f.Close, "flush": f.Flush, "get": func() error { return f.Get(b) }, "set": func() error { return f.Set(b) },
		"exists": func() error { _, err := f.Exists(0, nil, 0); return err },
		"delete": func() error { _, err := f.Delete(0, nil); return err },
		"pin":    func() error { _, err := f.Pin(0, nil); return err },
		"submit": func() error { _, err := f.SubmitGet(b); return err },
		"drop":   func() error { _, err := f.DropNamespace(""); return err },
		"keys":   func() error { _, _, err := f.Keys("", Cursor{}, 1); return err },
		"quota":  func() error { return f.SetQuota("", 1) },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneOpener(t *testing.T) {
	dir, o := t.TempDir(), tiny(vfs.OS)
	o.unlocked = false
	s := open(t, dir, o)
	var locked *engine.LockedError
	if _, err := Open(dir, o); !errors.As(err, &locked) || locked.PID == 0 {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, o)
}

func TestOptions(t *testing.T) {
	for text, says := range map[string]string{
		`{}`:               "capacity",
		`{"capacity": 1}`:  "capacity is 1",
		`{"capacity": 1e9`: "JSON",
		`{"capacty": 1}`:   "capacty",
		`{"capacity": 100000000, "sync": "x", "workers": -1, "ttl": -1, "policy": "arc"}`: "policy is \"arc\", want one of [\"s3fifo\" \"lru\" \"lfu\" \"fifo\"]; sync",
		`{"capacity": 100000000, "segment_bytes": 50000000}`:                              "segment",
	} {
		o, err := ParseOptions([]byte(text))
		if err == nil {
			o.FS = faultfs.NewMem()
			o.unlocked = true
			_, err = Open("/kv", o)
		}
		var options *OptionError
		if !errors.As(err, &options) || !bytes.Contains([]byte(err.Error()), []byte(says)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
