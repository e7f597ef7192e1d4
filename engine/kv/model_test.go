package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// slow says whether the tests that take minutes run.
func slow() bool { return os.Getenv("PERSISTING_SLOW") != "" }

// tiny are options of a store of few and small segments, on a file system of the test's.
func tiny(fsys vfs.FS) Options {
	return Options{
		CapacityBytes: 12 * (tinySegment + 8192), SegmentBytes: tinySegment, Workers: 2,
		FS: fsys, manual: true, unlocked: true,
	}
}

const tinySegment = 128 << 10

// open opens a store that is closed at the end of the test.
func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, faultfs.ErrCrashed) {
			t.Log("close:", err)
		}
	})
	return s
}

// payload is what a key's n-th version holds.
func payload(key string, n, length int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(len(key))<<32|uint64(length)))
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	copy(b, fmt.Sprintf("%s version %d ", key, n))
	return b
}

func set(t testing.TB, s *Store, space uint32, key string, value []byte) int8 {
	t.Helper()
	cut := len(value) / 3
	b := &transfer.Batch{Space: space, Items: []transfer.Item{{Key: []byte(key), Pieces: [][]byte{value[:cut], nil, value[cut:]}}}, Results: make([]int8, 1)}
	if err := s.Set(b); err != nil {
		t.Fatal(err)
	}
	return b.Results[0]
}

// get returns what a key holds, nil if it is not there.
func get(t testing.TB, s *Store, space uint32, key string) []byte {
	t.Helper()
	n, err := s.Exists(space, []byte(key), 0)
	if err != nil {
		t.Fatal(err)
	}
	if n < 0 {
		return nil
	}
	into := make([]byte, n)
	b := &transfer.Batch{Space: space, Items: []transfer.Item{{Key: []byte(key), Pieces: [][]byte{into[:n/2], into[n/2:]}}}, Results: make([]int8, 1)}
	if err := s.Get(b); err != nil {
		t.Fatal(err)
	}
	if b.Results[0] != transfer.OK {
		return nil
	}
	return into
}

// model is what a store may answer: for each key, what was set last, which may be gone.
type model struct {
	t      *testing.T
	s      *Store
	rng    *rand.Rand
	last   map[string][]byte
	maybe  map[string][][]byte // what was set while the disk failed or before a crash may be there or not
	spaces map[string]uint32
	n      int
	log    map[string][]string
}

func newModel(t *testing.T, rng *rand.Rand) *model {
	return &model{t: t, rng: rng, last: map[string][]byte{}, maybe: map[string][][]byte{}, spaces: map[string]uint32{}}
}

func (m *model) use(s *Store) {
	m.s = s
	for _, ns := range []string{"", "other"} {
		n, err := s.Space(ns, "salt")
		if err != nil {
			m.t.Fatal(err)
		}
		m.spaces[ns] = n
	}
}

func (m *model) key() (name, key string, space uint32) {
	ns := []string{"", "other"}[m.rng.IntN(2)]
	key = fmt.Sprintf("key %d", m.rng.IntN(40))
	return ns + "/" + key, key, m.spaces[ns]
}

// step does something at random. faulty says that the disk may fail.
func (m *model) step(faulty bool) {
	m.t.Helper()
	name, key, space := m.key()
	switch m.rng.IntN(12) {
	case 0, 1, 2, 3:
		m.n++
		value := payload(name, m.n, m.rng.IntN(30000))
		r := set(m.t, m.s, space, key, value)
		m.note(name, "set %d gave %d", m.n, r)
		switch {
		case r == transfer.OK:
			m.last[name] = value
			delete(m.maybe, name)
		case !faulty:
			m.t.Fatalf("set: result %d", r)
		default:
			m.maybe[name] = append(m.maybe[name], value)
		}
	case 4:
		if old := m.last[name]; old != nil && len(m.maybe[name]) == 0 {
			if r := set(m.t, m.s, space, key, old); r <= 0 && !faulty {
				m.t.Fatalf("set once more: result %d", r)
			}
		}
	case 5:
		found, err := m.s.Delete(space, []byte(key))
		if m.note(name, "delete gave %v, %v", found, err); err == nil {
			delete(m.last, name)
			delete(m.maybe, name)
		} else if !faulty {
			m.t.Fatal(err)
		}
	case 6:
		pin := m.s.Pin
		if m.rng.IntN(3) > 0 {
			pin = m.s.Unpin
		}
		if _, err := pin(space, []byte(key)); err != nil && !faulty && !errors.Is(err, ErrPinned) {
			m.t.Fatal(err)
		}
	case 7:
		m.s.keepUp()
	default:
		m.check(name, key, space)
	}
}

// note keeps what happened to a key, for a failure to tell.
func (m *model) note(name, format string, a ...any) {
	if m.log == nil {
		m.log = map[string][]string{}
	}
	m.log[name] = append(m.log[name], fmt.Sprintf(format, a...))
}

func (m *model) check(name, key string, space uint32) {
	m.t.Helper()
	got := get(m.t, m.s, space, key)
	if got == nil || m.last[name] != nil && bytes.Equal(got, m.last[name]) {
		return
	}
	for _, value := range m.maybe[name] {
		if bytes.Equal(got, value) {
			return
		}
	}
	m.t.Logf("history %q %q", m.log[name], m.log[""])
	m.t.Fatalf("%s holds %.30q, want nothing or %.30q", name, got, m.last[name])
}

func (m *model) checkAll() (present int) {
	m.t.Helper()
	for ns, space := range m.spaces {
		for i := range 40 {
			key := fmt.Sprintf("key %d", i)
			m.check(ns+"/"+key, key, space)
			if got := get(m.t, m.s, space, key); got != nil {
				present++
			}
		}
	}
	return present
}

// TestModel does random things, closes and opens at any time, and sees that a key holds what was set last or nothing.
func TestModel(t *testing.T) {
	for _, policy := range []string{"s3fifo", "lru", "lfu", "fifo"} {
		t.Run(policy, func(t *testing.T) {
			rounds := 60
			if slow() {
				rounds = 2000
			}
			rng := rand.New(rand.NewPCG(1, uint64(len(policy))))
			mem := faultfs.NewMem()
			m := newModel(t, rng)
			o := tiny(mem)
			o.Policy = policy
			for range rounds {
				s := open(t, "/kv", o)
				m.use(s)
				m.checkAll()
				for range rng.IntN(60) {
					m.step(false)
				}
				before := m.checkAll()
				switch rng.IntN(3) {
				case 0:
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				case 1:
					mem.Kill()
					s.abandon()
				default: // the process dies, and the checkpoint was never written
					mem.Kill()
					s.abandon()
				}
				s = open(t, "/kv", o)
				m.use(s)
				if after := m.checkAll(); after != before {
					t.Fatalf("%d keys after opening, %d before", after, before)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// abandon ends the goroutines of a store as the end of its process does.
func (s *Store) abandon() {
	s.closed.Store(true)
	close(s.stop)
	s.mover.Stop()
}

// TestPowerFailure loses what was not synced: what is left is right, and what was flushed is there.
func TestPowerFailure(t *testing.T) {
	rounds := 150
	if slow() {
		rounds = 5000
	}
	for seed := range rounds {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		mem := faultfs.NewMem()
		m := newModel(t, rng)
		for range 4 {
			s := open(t, "/kv", tiny(mem))
			m.use(s)
			m.checkAll()
			for range rng.IntN(80) {
				m.step(false)
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			flushed := map[string][]byte{}
			for name := range m.last {
				flushed[name] = m.last[name]
			}
			m.unsynced(rng.IntN(30))
			present := m.presentOf(flushed)
			mem.Crash(rng)
			s.abandon()
			s = open(t, "/kv", tiny(mem))
			m.use(s)
			m.checkAll()
			for name := range present {
				if !m.has(name) {
					t.Fatalf("seed %d: %s was flushed and is gone", seed, name)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// unsynced sets and deletes what a power failure may take back.
func (m *model) unsynced(steps int) {
	for range steps {
		name, key, space := m.key()
		m.n++
		if m.last[name] != nil {
			m.maybe[name] = append(m.maybe[name], m.last[name])
		}
		if m.rng.IntN(3) > 0 {
			value := payload(name, m.n, m.rng.IntN(30000))
			if r := set(m.t, m.s, space, key, value); r != transfer.OK {
				m.t.Fatalf("set: result %d", r)
			}
			m.maybe[name] = append(m.maybe[name], value)
			continue
		}
		if _, err := m.s.Delete(space, []byte(key)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// presentOf are the keys of a set that still hold what they held.
func (m *model) presentOf(flushed map[string][]byte) map[string]bool {
	present := map[string]bool{}
	for name, value := range flushed {
		if bytes.Equal(m.value(name), value) && len(value) > 0 {
			present[name] = true
		}
	}
	return present
}

func (m *model) value(name string) []byte {
	ns, key := "", name[1:]
	if name[0] != '/' {
		ns, key = "other", name[len("other/"):]
	}
	return get(m.t, m.s, m.spaces[ns], key)
}

func (m *model) has(name string) bool { return m.value(name) != nil }

// TestEveryFault fails each operation of the file system in turn: nothing is wrong, nothing panics, and the store works once
// the disk does.
func TestEveryFault(t *testing.T) {
	step := int64(7)
	if slow() {
		step = 1
	}
	for _, sticky := range []bool{false, true} {
		for n := int64(1); ; n += step {
			mem := faultfs.NewMem()
			nth := &faultfs.Nth{N: n, Sticky: sticky, Err: errors.New("input/output error")}
			hook := &faultfs.Hook{FS: mem, Before: nth.Before, Short: n%2 == 0}
			now := time.Now()
			o := tiny(hook)
			o.Now = func() time.Time { return now }
			m := newModel(t, rand.New(rand.NewPCG(3, 4)))
			for i := range 2 {
				for ns := range m.last {
					m.note(ns, "opening %d", i)
				}
				s, err := Open("/kv", o)
				if err != nil {
					break
				}
				m.use(s)
				for range 150 {
					m.step(true)
					now = now.Add(50 * time.Millisecond)
				}
				s.Close() // it may fail
			}
			m.note("", "fault %d, sticky %v", n, sticky)
			done := nth.Count() < n
			nth.N = 0
			hook.FS = mem
			s := open(t, "/kv", o)
			m.use(s)
			m.checkAll()
			now = now.Add(2 * time.Second)
			s.keepUp()
			if r := set(t, s, m.spaces[""], "afterwards", []byte("works")); r != transfer.OK {
				t.Fatalf("fault %d, sticky %v: a set afterwards gives %d", n, sticky, r)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if done {
				break
			}
		}
	}
}
