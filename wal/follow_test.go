package wal_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
)

// followed is a follower and what it has given since the log was read from its beginning.
type followed struct {
	f       *wal.Follower
	entries []entry
	begun   bool
}

// catchUp reads what there is, of a log behind a table of next rows, as a reader of a bucket does.
func (r *followed) catchUp(t testing.TB, next, limit int64) (begins int) {
	t.Helper()
	for range 3 {
		if r.begun {
			same, more, err := r.f.More(limit, collect(&r.entries))
			for err == nil && same && more {
				same, more, err = r.f.More(limit, collect(&r.entries))
			}
			if err != nil {
				t.Fatal(err)
			}
			if same {
				return begins
			}
		}
		r.entries, r.begun = nil, true
		begins++
		if _, err := r.f.Begin(next, collect(&r.entries)); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the log never is the one that was read")
	return 0
}

// TestFollow reads along with a log that is written, cut, closed and opened again.
func TestFollow(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(5, seed))
		fs := faultfs.NewMem()
		o := options(fs)
		l, _, _ := open(t, o, 0)
		r := &followed{f: wal.Follow(o)}
		var all []entry
		var end, cut int64
		begins := 0
		for range 300 {
			switch random.IntN(12) {
			default:
				rows := random.Int64N(3) + 1
				e := put(t, l, []string{"one", "another"}[random.IntN(10)/9], content(int(seed), end, random.IntN(300)), rows)
				all, end = append(all, e), e.first+rows
			case 10:
				cut = end - random.Int64N(min(end-cut, 40)+1)
				if err := l.Cut(cut); err != nil {
					t.Fatal(err)
				}
			case 11:
				closeLog(t, l)
				l, _, _ = open(t, o, cut)
			}
			begins += r.catchUp(t, cut, []int64{-1, 1, 500}[random.IntN(3)])
			// What is cut may be there still, and what was read before stays.
			var first int64
			if len(r.entries) > 0 {
				first = r.entries[0].first
			} else {
				first = end
			}
			at := slices.IndexFunc(all, func(e entry) bool { return e.first == first })
			if at < 0 {
				at = len(all)
			}
			if first > cut {
				t.Fatalf("the first row is %d, the table has %d", first, cut)
			}
			same(t, "followed", r.entries, all[at:])
		}
		closeLog(t, l)
		if begins > 150 {
			t.Errorf("the log was read anew %d times", begins)
		}
	}
}

// TestFollowATakenBackEntry sees that what was read is there no more: the next opener has cut it off.
func TestFollowATakenBackEntry(t *testing.T) {
	fs := faultfs.NewMem()
	o := options(fs)
	o.SegmentBytes = 1 << 20
	l, _, _ := open(t, o, 0)
	first := put(t, l, "one", "stays", 1)
	before := save(t, fs)
	put(t, l, "one", "is taken back", 1)
	r := &followed{f: wal.Follow(o)}
	r.catchUp(t, 0, -1)
	if len(r.entries) != 2 {
		t.Fatalf("read %v", r.entries)
	}
	name := before.names()[0]
	file, err := fs.OpenWrite(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.WriteAt([][]byte{[]byte(before[name])}, 0), file.Close()); err != nil {
		t.Fatal(err)
	}
	if begins := r.catchUp(t, 0, -1); begins != 1 {
		t.Errorf("read anew %d times", begins)
	}
	same(t, "after that", r.entries, []entry{first})
}

// TestFollowNotToDamage leaves the judgement of damage to Begin, which has that of Open.
func TestFollowNotToDamage(t *testing.T) {
	_, closed, entries := sample(t)
	for _, name := range closed.names() {
		for at := 200; at < len(closed[name]); at += 97 {
			turned := []byte(closed[name])
			turned[at] ^= 4
			fs := load(t, closed.with(name, string(turned)))
			o := options(fs)
			o.FS = fs
			_, want, _, failed := tryOpen(options(load(t, closed.with(name, string(turned)))), 0)
			r := &followed{f: wal.Follow(o)}
			_, err := r.f.Begin(0, collect(&r.entries))
			if (err == nil) != (failed == nil) || err == nil && !slices.Equal(r.entries, want) {
				t.Fatalf("byte %d of %s turned: %v, open says %v", at, name, err, failed)
			}
		}
	}
	if len(entries) == 0 {
		t.Fatal("an empty sample")
	}
}
