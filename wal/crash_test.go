package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// world is a log that lives through crashes, and what must be in it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	mem    *faultfs.Mem
	o      wal.Options
	life   int
	model  []entry // that may be in the log, in order
	table  int64   // rows below are in the table
	acked  int64   // rows below survive the death of the process
	synced int64   // rows below survive a power failure
}

func newWorld(t *testing.T, seed uint64, interval time.Duration) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: faultfs.NewMem()}
	w.o = options(nil)
	w.o.SyncInterval = interval
	return w
}

// live opens the log, checks what it holds, works with it for a while and ends it somehow. It fails by operation crashAt.
func (w *world) live(crashAt int64) {
	w.life++
	nth := &faultfs.Nth{N: crashAt, Sticky: true, Err: faultfs.ErrCrashed}
	w.o.FS = &faultfs.Hook{FS: w.mem, Before: nth.Before, Short: true}
	l, got, report, err := tryOpen(w.o, w.table)
	if err == nil {
		w.check(got, report)
		w.work(l)
		if err = l.Close(); err == nil && w.rng.IntN(2) == 0 {
			w.acked, w.synced = l.Appended(), l.Appended()
		}
	}
	if err != nil && !errors.Is(err, faultfs.ErrCrashed) {
		w.t.Fatalf("life %d: %v", w.life, err)
	}
	if w.rng.IntN(3) == 0 {
		w.mem.Kill()
		return
	}
	w.mem.Crash(w.rng)
	w.acked = w.synced
}

// check compares what was replayed with the model, and makes it the model.
func (w *world) check(got []entry, report wal.Report) {
	w.t.Helper()
	w.model = slices.DeleteFunc(w.model, func(e entry) bool { return e.first+e.rows <= w.table })
	least := 0
	for least < len(w.model) && w.model[least].first+w.model[least].rows <= w.acked {
		least++
	}
	what := fmt.Sprintf("life %d, table %d, acknowledged %d", w.life, w.table, w.acked)
	if len(got) < least || len(got) > len(w.model) {
		w.t.Fatalf("%s: %d entries instead of %d to %d: %+v", what, len(got), least, len(w.model), report)
	}
	same(w.t, what, got, w.model[:len(got)])
	w.model = w.model[:len(got)]
	w.acked = report.End
	w.synced = report.End
}

func (w *world) work(l *wal.Log) {
	for range w.rng.IntN(40) {
		var err error
		switch w.rng.IntN(10) {
		default:
			preamble := []string{"schema", "another schema"}[w.rng.IntN(8)/7]
			body := content(w.life, l.Appended(), w.rng.IntN(220))
			rows := int64(1 + w.rng.IntN(3))
			var first int64
			add := l.Append
			if w.rng.IntN(4) == 0 {
				add = l.AppendNow
			}
			if first, err = add([]byte(preamble), [][]byte{[]byte(body)}, rows, nil); err == nil {
				w.model = append(w.model, entry{first, rows, preamble, body})
			}
		case 5, 6:
			err = l.Wait(background, l.Appended())
		case 7:
			end := l.Appended()
			if err = l.Sync(background); err == nil {
				w.synced = end
			}
		case 8:
			w.acked = l.Acknowledged()
			w.table = max(w.table, w.acked-int64(w.rng.IntN(6)))
			w.table = max(0, w.table)
			err = l.Cut(w.table)
		}
		if err != nil {
			if !errors.Is(err, faultfs.ErrCrashed) {
				w.t.Fatalf("life %d: %v", w.life, err)
			}
			break
		}
	}
	w.acked = l.Acknowledged()
	if w.o.SyncInterval == 0 {
		w.synced = w.acked
	}
	w.synced = max(w.synced, w.table)
	w.acked = max(w.acked, w.table)
}

func TestCrash(t *testing.T) {
	seeds := uint64(1000)
	if *slow {
		seeds = 20000
	}
	for name, interval := range map[string]time.Duration{"synced": 0, "background": time.Hour, "fast background": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			for seed := range seeds {
				ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					w := newWorld(t, seed, interval)
					for range 8 {
						w.live(1 + int64(w.rng.ExpFloat64()*40))
					}
					w.live(1 << 40) // to the end, whatever it was
				})
				if !ok {
					return
				}
			}
		})
	}
}

// TestCrashAtEveryOperation crashes a fixed life at each operation, then recovery at each of its own.
func TestCrashAtEveryOperation(t *testing.T) {
	step := int64(3)
	if *slow {
		step = 1
	}
	for n := int64(1); ; n += step {
		w := newWorld(t, 42, 0)
		w.live(1 << 40)
		w.live(n)
		for m := int64(1); m < 30; m += step {
			w.live(m)
		}
		w.live(1 << 40)
		if n > 200 {
			break
		}
	}
}

// script is a life in which every kind of operation occurs. It returns what was acknowledged and what was tried.
func script(o wal.Options) (acked, tried []entry, cut int64, err error) {
	var replayed []entry
	l, _, err := wal.Open(o, 0, collect(&replayed))
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for i := range 14 {
		preamble := fmt.Sprint("schema ", i/9)
		body := content(0, int64(i), 150)
		first, err := l.Append([]byte(preamble), [][]byte{[]byte(body)}, 1, nil)
		if err != nil {
			return acked, tried, cut, err
		}
		tried = append(tried, entry{first, 1, preamble, body})
		if err := l.Wait(background, first+1); err != nil {
			return acked, tried, cut, err
		}
		acked = append(acked, tried[len(tried)-1])
		if i == 7 {
			cut = 6
			if err := l.Cut(cut); err != nil {
				return acked, tried, cut, err
			}
		}
	}
	if err := l.Sync(background); err != nil {
		return acked, tried, cut, err
	}
	if err := l.Cut(cut); err != nil {
		return acked, tried, cut, err
	}
	return acked, tried, cut, nil
}

func TestEveryOperationFails(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		for _, short := range []bool{false, true} {
			for n := int64(1); ; n++ {
				what := fmt.Sprintf("operation %d fails, sticky %v, short %v", n, sticky, short)
				nth := &faultfs.Nth{N: n, Sticky: sticky, Err: syscall.EIO}
				m := faultfs.NewMem()
				acked, tried, cut, err := script(options(&faultfs.Hook{FS: m, Before: nth.Before, Short: short}))
				if nth.Count() < n {
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					break
				}
				if err == nil && n < nth.Count() && !sticky {
					t.Logf("%s: no error", what)
				}
				if err != nil && !errors.Is(err, syscall.EIO) {
					t.Fatalf("%s: %v", what, err)
				}
				l, got, _, err := tryOpen(options(m), cut)
				if err != nil {
					t.Fatalf("%s: open: %v", what, err)
				}
				want := acked[min(int(cut), len(acked)):]
				if sticky && len(got) > len(want) { // nothing could be taken back
					want = tried[cut:]
				}
				same(t, what, got, want)
				extra := put(t, l, "p", "goes on", 1)
				closeLog(t, l)
				l, got, _, err = tryOpen(options(m), cut)
				if err != nil {
					t.Fatalf("%s: open again: %v", what, err)
				}
				same(t, what+", again", got, append(slices.Clone(want), extra))
				closeLog(t, l)
			}
		}
	}
}

// TestRecoveryFails fails and crashes each operation of an Open that has a tail to cut off, stale files to remove and a salvage
// to do.
func TestRecoveryFails(t *testing.T) {
	crashed, closed, entries := sample(t)
	names := crashed.names()
	torn := []byte(crashed[names[2]])
	torn[used(torn)] = 7
	unmarked, empty := make([]byte, 1024), make([]byte, 1024)
	copy(unmarked, closed[names[1]][:len(closed[names[1]])-segment.RecordBytes-len("schema one......")])
	copy(empty, closed[names[2]][:segment.HeaderBytes+segment.RecordBytes+len("schema two, longer......")])
	damaged := []byte(closed[names[1]])
	damaged[250] ^= 1
	for name, c := range map[string]struct {
		files    files
		next     int64
		recovery wal.Recovery
	}{
		"torn tail":       {crashed.with(names[2], string(torn)), 0, wal.Strict},
		"half a rotation": {closed.with(names[1], string(unmarked)).with(names[2], string(empty)), 0, wal.Strict},
		"stale segments":  {crashed.with("00000000000000000004.wal.tmp", "x"), entries[9].first, wal.Strict},
		"all flushed":     {closed, 1000, wal.Strict},
		"salvage":         {closed.with(names[1], string(damaged)), 0, wal.Salvage},
		"salvage missing": {closed.without(names[1]), 0, wal.Salvage},
		"salvage gap":     {closed.without(names[0]), 0, wal.Salvage},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(load(t, c.files))
			o.Recovery = c.recovery
			l, want, _, err := tryOpen(o, c.next)
			if err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			for _, crash := range []bool{false, true} {
				for n := int64(1); ; n++ {
					nth := &faultfs.Nth{N: n, Sticky: crash, Err: faultfs.ErrCrashed}
					m := load(t, c.files)
					o.FS = &faultfs.Hook{FS: m, Before: nth.Before, Short: true}
					l, _, _, err := tryOpen(o, c.next)
					if err == nil {
						_ = l.Close()
					}
					if nth.Count() < n {
						break
					}
					if crash {
						m.Crash(rand.New(rand.NewPCG(uint64(n), 3)))
					}
					o.FS = m
					l, got, _, err := tryOpen(o, c.next)
					if err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
					same(t, fmt.Sprintf("operation %d, crash %v", n, crash), got, want)
					closeLog(t, l)
				}
			}
		})
	}
}

// trace records what happens to the files of the log.
type trace struct {
	mu  sync.Mutex
	ops []faultfs.Op
}

func (r *trace) Before(op faultfs.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Path = filepath.Base(op.Path)
	op.To = filepath.Base(op.To)
	r.ops = append(r.ops, op)
	return nil
}

// TestOrder reads from the trace of a life that nothing is relied on before it is on disk.
func TestOrder(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Hour} {
		t.Run(interval.String(), func(t *testing.T) {
			var r trace
			m := faultfs.NewMem()
			o := options(&faultfs.Hook{FS: m, Before: r.Before})
			o.SyncInterval = interval
			if _, _, _, err := script(o); err != nil {
				t.Fatal(err)
			}
			for _, next := range []int64{6, 15, 1000} {
				l, _, _ := open(t, o, next)
				if next < 1000 {
					put(t, l, "p", "one", 1)
					if err := l.Cut(l.Acknowledged()); err != nil {
						t.Fatal(err)
					}
					put(t, l, "p", "two", 1)
					put(t, l, "q", "in another segment", 1)
				}
				closeLog(t, l)
			}
			checkOrder(t, r.ops)
		})
	}
	_, closed, _ := sample(t)
	name := closed.names()[1]
	b := []byte(closed[name])
	b[250] ^= 1
	var r trace
	o := options(&faultfs.Hook{FS: load(t, closed.with(name, string(b))), Before: r.Before})
	o.Recovery = wal.Salvage
	l, _, _, err := tryOpen(o, 0)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	checkOrder(t, r.ops)
}

func checkOrder(t *testing.T, ops []faultfs.Op) {
	t.Helper()
	var (
		dirty   = map[string]bool{} // files with unsynced content, by their final names
		renamed = map[string]bool{} // files with an unsynced name
		removed = map[string]bool{} // segments whose removal is not synced
		listed  bool                // names were read that may not be synced
		named   = map[string]bool{} // files that have their final names
		newest  string
		counts  = map[string]int{}
	)
	for i, op := range ops {
		counts[op.Name]++
		fail := func(why string) { t.Errorf("operation %d, %s of %s: %s", i, op.Name, op.Path, why) }
		name := strings.TrimSuffix(op.Path, ".tmp") // a file that was renamed while open is still known by its first name
		switch op.Name {
		case "create":
			if listed {
				fail("the names found are not on disk")
			}
		case "writeat":
			if renamed[name] {
				fail("the name is not on disk")
			}
			for older := range dirty {
				if older < name && named[name] {
					fail("an older segment is not on disk: " + older)
				}
			}
			dirty[name] = true
		case "datasync", "sync":
			delete(dirty, name)
		case "rename":
			if dirty[name] {
				fail("the content is not on disk")
			}
			for older := range dirty {
				fail("an older segment is not on disk: " + older)
			}
			if len(removed) > 0 {
				fail("removed segments may come back beside it")
			}
			renamed[op.To], named[op.To] = true, true
			if strings.HasSuffix(op.To, ".wal") {
				newest = max(newest, op.To)
			}
		case "readdir":
			listed = true
		case "syncdir":
			clear(renamed)
			clear(removed)
			listed = false
		case "remove":
			if op.Path == newest && len(removed) > 0 {
				fail("older segments may come back without it")
			}
			if delete(dirty, name); strings.HasSuffix(op.Path, ".wal") {
				removed[op.Path] = true
			}
		}
	}
	if len(removed) > 0 || len(renamed) > 0 || len(dirty) > 0 {
		t.Errorf("not on disk at the end: %v %v %v", removed, renamed, dirty)
	}
	for _, op := range []string{"rename", "syncdir", "datasync", "sync"} {
		if counts[op] == 0 {
			t.Errorf("no %s in the trace", op)
		}
	}
}
