package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

func TestReplay(t *testing.T) {
	for name, interval := range map[string]time.Duration{"every entry synced": 0, "background sync": time.Hour} {
		t.Run(name, func(t *testing.T) {
			o := wal.Options{Dir: filepath.Join(t.TempDir(), "a", "wal"), SegmentBytes: 4 << 10, SyncInterval: interval}
			var want []entry
			for life := range 4 {
				l, got, report := open(t, o, 0)
				same(t, fmt.Sprintf("life %d", life), got, want)
				if report.Entries != int64(len(want)) || report.TornBytes != 0 || report.Missing != nil {
					t.Fatalf("report %+v", report)
				}
				if l.Appended() != l.Acknowledged() || l.Acknowledged() != report.End {
					t.Fatalf("offsets %d, %d after the end at %d", l.Appended(), l.Acknowledged(), report.End)
				}
				for i := range 40 {
					want = append(want, put(t, l, fmt.Sprint("schema", i/30), content(life, l.Appended(), i*20), int64(i%3+1)))
				}
				if err := l.Sync(background); err != nil {
					t.Fatal(err)
				}
				closeLog(t, l)
			}
		})
	}
}

func TestReplayFrom(t *testing.T) {
	_, closed, entries := sample(t)
	end := entries[len(entries)-1].first + entries[len(entries)-1].rows
	for next := range end + 3 {
		m := load(t, closed)
		l, got, report := open(t, options(m), next)
		var want []entry
		rows := int64(0)
		for _, e := range entries {
			if e.first+e.rows > next {
				want = append(want, e)
				rows += e.first + e.rows - max(e.first, next)
			}
		}
		same(t, fmt.Sprintf("from row %d", next), got, want)
		if report.Rows != rows || report.End != max(next, end) {
			t.Fatalf("from row %d: report %+v", next, report)
		}
		e := put(t, l, "p", "new", 2)
		if e.first != max(next, end) {
			t.Fatalf("from row %d: the next entry is at %d", next, e.first)
		}
		closeLog(t, l)
		l, got, _ = open(t, options(m), next)
		same(t, fmt.Sprintf("again from row %d", next), got, append(want, e))
		closeLog(t, l)
	}
}

func TestAppendRefuses(t *testing.T) {
	o := options(faultfs.NewMem())
	o.MaxEntryBytes = 100
	l, _, _ := open(t, o, 0)
	never := func(error) { t.Error("done was called for a refused entry") }
	for name, c := range map[string]struct {
		preamble, body string
		rows           int64
		want           error
	}{
		"body":     {"", strings.Repeat("x", 101), 1, segment.ErrTooLarge},
		"preamble": {strings.Repeat("x", 101), "", 1, segment.ErrTooLarge},
		"no rows":  {"", "x", 0, nil},
	} {
		if _, err := l.Append([]byte(c.preamble), [][]byte{[]byte(c.body)}, c.rows, never); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e := put(t, l, "", strings.Repeat("x", 100), 1<<62); e.first != 0 {
		t.Errorf("first entry at %d", e.first)
	}
	if _, err := l.Append(nil, nil, 1<<62, never); err == nil {
		t.Error("offsets overflow")
	}
	closeLog(t, l)
	if _, err := l.Append(nil, nil, 1, never); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("append to a closed log: %v", err)
	}
	for name, err := range map[string]error{
		"close": l.Close(), "sync": l.Sync(background), "wait": l.Wait(background, 1<<62+1), "cut": l.Cut(0),
	} {
		if !errors.Is(err, wal.ErrClosed) && (name != "sync" || err != nil) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	err := wal.Options{SegmentBytes: 1, MaxEntryBytes: -1, SyncInterval: -1, Recovery: 7}.Validate()
	for _, name := range []string{"Dir", "SegmentBytes", "MaxEntryBytes", "SyncInterval", "Recovery"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named by %v", name, err)
		}
	}
	if _, _, err := wal.Open(wal.Options{}, 0, nil); err == nil {
		t.Error("opened without a directory")
	}
}

func TestLargeEntries(t *testing.T) {
	o := wal.Options{Dir: t.TempDir(), SegmentBytes: 1 << 20}
	l, _, _ := open(t, o, 0)
	big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	var want []string
	for i, body := range [][][]byte{
		{[]byte("head"), big, []byte("tail")},
		{big[:smallest], nil, big[1 : 1+smallest], []byte("x")},
		{big[:smallest-1], big[:3]},
	} {
		if _, err := l.Append([]byte("p"), body, 1, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, string(bytes.Join(body, nil)))
		if err := l.Wait(background, int64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	_, got, report := open(t, o, 0)
	for i, e := range got {
		if e.body != want[i] {
			t.Errorf("body %d differs, %d bytes", i, len(e.body))
		}
	}
	if report.Entries != int64(len(want)) {
		t.Errorf("report %+v", report)
	}
}

const smallest = 4 << 10 // of the pieces that are not copied

func TestBodyChangedWhileWritten(t *testing.T) {
	body := bytes.Repeat([]byte("a"), 100<<10)
	m := faultfs.NewMem()
	changes := 0
	o := options(&faultfs.Hook{FS: m, Before: func(op faultfs.Op) error {
		if op.Name == "writeat" && changes > 0 {
			changes--
			body[50]++ // between the checksum and the write
		}
		return nil
	}})
	o.SegmentBytes = 1 << 20
	l, _, _ := open(t, o, 0)
	put(t, l, "", "first", 1)
	changes = 2
	if _, err := l.Append(nil, [][]byte{[]byte("x"), body}, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(background, 2); err != nil {
		t.Fatal(err)
	}
	put(t, l, "", "last", 1)
	closeLog(t, l)
	l, got, _ := open(t, options(m), 0)
	if len(got) != 3 || got[2].body != "last" || len(got[1].body) != 1+len(body) || changes != 0 {
		t.Errorf("%d entries", len(got))
	}
	closeLog(t, l)
}

func TestReplayedBodiesStay(t *testing.T) {
	o := wal.Options{Dir: t.TempDir()}
	l, _, _ := open(t, o, 0)
	for i := range 5000 {
		if _, err := l.Append([]byte("p"), [][]byte{[]byte(content(0, int64(i), 400+i%9))}, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	var bodies [][]byte
	l, _, err := wal.Open(o, 0, func(e segment.Entry) error {
		bodies = append(bodies, e.Body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	for i, body := range bodies {
		if string(body) != content(0, int64(i), 400+i%9) {
			t.Fatalf("body %d was overwritten", i)
		}
	}
}

func TestReplayFails(t *testing.T) {
	crashed, _, _ := sample(t)
	m := load(t, crashed)
	stop := errors.New("stop")
	if _, _, err := wal.Open(options(m), 0, func(segment.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if got := save(t, m); fmt.Sprint(got) != fmt.Sprint(crashed) {
		t.Error("the directory changed")
	}
}

func TestConcurrentAppend(t *testing.T) {
	for name, interval := range map[string]time.Duration{"synced": 0, "background": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			var advanced, acknowledged atomic.Int64
			o := wal.Options{
				Dir: t.TempDir(), SegmentBytes: 64 << 10, SyncInterval: interval,
				OnAdvance: func(to int64) {
					if from := advanced.Swap(to); from >= to || acknowledged.Load() != to {
						t.Errorf("advanced from %d to %d after callbacks up to %d", from, to, acknowledged.Load())
					}
				},
			}
			l, _, _ := open(t, o, 0)
			const writers, each = 16, 60
			var group sync.WaitGroup
			for w := range writers {
				group.Add(1)
				go func() {
					defer group.Done()
					for i := range each {
						body := fmt.Sprintf("writer %d entry %d %s", w, i, strings.Repeat("x", i*17))
						add := l.Append
						if w%2 == 0 {
							add = l.AppendNow
						}
						first, err := add([]byte("p"), [][]byte{[]byte(body)}, 1, func(err error) {
							acknowledged.Add(1)
							if err != nil {
								t.Error(err)
							}
						})
						if err != nil {
							t.Error(err)
							return
						}
						switch i % 10 {
						case 3:
							err = l.Sync(background)
						case 7:
							err = l.Cut(l.Acknowledged() / 3)
						default:
							err = l.Wait(background, first+1)
						}
						if err != nil || l.Acknowledged() < first+1 && i%10 != 7 {
							t.Errorf("%v at %d", err, first)
						}
					}
				}()
			}
			group.Wait()
			cut := l.Acknowledged() / 3
			closeLog(t, l)
			if advanced.Load() != writers*each {
				t.Errorf("advanced to %d", advanced.Load())
			}
			_, got, _ := open(t, o, cut)
			next := map[int]int{}
			for _, e := range got {
				var w, i int
				if _, err := fmt.Sscanf(e.body, "writer %d entry %d", &w, &i); err != nil || next[w] > 0 && next[w] != i {
					t.Fatalf("entry %d of writer %d after %d: %v", i, w, next[w], err)
				}
				next[w] = i + 1
			}
		})
	}
}

func TestCallbacks(t *testing.T) {
	l, _, _ := open(t, options(faultfs.NewMem()), 0)
	var order []int64
	for i := range int64(50) {
		first, err := l.Append(nil, [][]byte{{byte(i)}}, 1, func(err error) {
			if l.Acknowledged() <= i {
				t.Errorf("callback %d before the acknowledgement", i)
			}
			order = append(order, i)
		})
		if err != nil || first != i {
			t.Fatal(first, err)
		}
	}
	closeLog(t, l)
	for i, n := range order {
		if int64(i) != n {
			t.Fatalf("callbacks in the order %v", order)
		}
	}
	if len(order) != 50 {
		t.Errorf("%d callbacks", len(order))
	}
}

func TestWaitEnds(t *testing.T) {
	l, _, _ := open(t, options(faultfs.NewMem()), 0)
	ctx, cancel := context.WithTimeout(background, time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	failed := make(chan error)
	go func() { failed <- l.Wait(background, 5) }()
	time.Sleep(time.Millisecond)
	put(t, l, "", "", 4)
	closeLog(t, l)
	if err := <-failed; !errors.Is(err, wal.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
}

func TestCut(t *testing.T) {
	for name, interval := range map[string]time.Duration{"synced": 0, "background": time.Hour} {
		t.Run(name, func(t *testing.T) {
			m := faultfs.NewMem()
			o := options(m)
			o.SyncInterval = interval
			l, _, _ := open(t, o, 0)
			var all []entry
			for i := range 60 {
				all = append(all, put(t, l, "p", content(0, int64(i), 100), 1))
				if i%7 == 0 {
					before := int64(i) / 2
					if err := l.Cut(before); err != nil {
						t.Fatal(err)
					}
					if i%14 == 0 {
						closeLog(t, l)
						var got []entry
						l, got, _ = open(t, o, before)
						same(t, fmt.Sprint("cut at ", before), got, all[before:])
					}
				}
			}
			if l.Segments() > 8 {
				t.Errorf("%d segments stay", l.Segments())
			}
			if err := l.Cut(61); err == nil {
				t.Error("cut beyond the end")
			}
			if err := l.Cut(60); err != nil {
				t.Fatal(err)
			}
			if got := save(t, m); len(got) != 0 || l.Segments() != 0 || l.Size() != 0 {
				t.Errorf("a full cut leaves %v, %d segments, %d bytes", got.names(), l.Segments(), l.Size())
			}
			e := put(t, l, "p", "after the cut", 3)
			if err := l.Cut(60); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			l, got, _ := open(t, o, 60)
			same(t, "after the cut", got, []entry{e})
			closeLog(t, l)
			if _, _, _, err := tryOpen(o, 59); !errors.As(err, new(*wal.GapError)) {
				t.Errorf("open with a gap: %v", err)
			}
		})
	}
}

func TestSize(t *testing.T) {
	m := faultfs.NewMem()
	l, _, _ := open(t, options(m), 0)
	for i := range 30 {
		put(t, l, "preamble", content(0, int64(i), i*5), 1)
	}
	if err := l.Cut(10); err != nil {
		t.Fatal(err)
	}
	used := func() (sum int64) {
		infos, err := wal.Inspect(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			if info.Err != nil {
				t.Fatal(info.Err)
			}
			sum += info.Bytes
		}
		return sum
	}
	if got, want := l.Size(), used(); got != want {
		t.Errorf("size %d of %d", got, want)
	}
	closeLog(t, l)
	l, _, _ = open(t, options(m), 10)
	if got, want := l.Size(), used(); got != want {
		t.Errorf("size %d of %d after opening", got, want)
	}
	closeLog(t, l)
}

func TestPoison(t *testing.T) {
	for _, c := range []struct {
		op       string
		interval time.Duration
	}{{"writeat", 0}, {"datasync", 0}, {"writeat", time.Hour}, {"datasync", time.Millisecond}} {
		t.Run(fmt.Sprint(c.op, c.interval), func(t *testing.T) {
			m := faultfs.NewMem()
			var broken atomic.Bool
			o := options(&faultfs.Hook{FS: m, Short: true, Before: func(op faultfs.Op) error {
				if broken.Load() && op.Name == c.op {
					return syscall.ENOSPC
				}
				return nil
			}})
			o.SyncInterval = c.interval
			l, _, _ := open(t, o, 0)
			want := []entry{put(t, l, "p", "one", 1), put(t, l, "p", "two", 1)}
			broken.Store(true)
			var told error
			first, err := l.Append([]byte("p"), [][]byte{[]byte("lost")}, 1, func(err error) { told = err })
			if err != nil {
				t.Fatal(err)
			}
			err = l.Wait(background, first+1)
			acknowledged := c.op == "datasync" && c.interval > 0
			if acknowledged {
				want = append(want, entry{first, 1, "p", "lost"})
				err = l.Sync(background)
			}
			for name, err := range map[string]error{"wait": err, "err": l.Err(), "sync": l.Sync(background), "cut": l.Cut(0)} {
				if !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("%s: %v", name, err)
				}
			}
			broken.Store(false)
			if _, err := l.Append(nil, nil, 1, nil); !errors.Is(err, wal.ErrFailed) {
				t.Errorf("append: %v", err)
			}
			if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("close: %v", err)
			}
			if (told == nil) != acknowledged {
				t.Errorf("done got %v", told)
			}
			l, got, _ := open(t, o, 0)
			same(t, "after the failure", got, want)
			want = append(want, put(t, l, "p", "space again", 1))
			closeLog(t, l)
			l, got, _ = open(t, o, 0)
			same(t, "at last", got, want)
			closeLog(t, l)
		})
	}
}
