package ring

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persisting/persisting/engine/ring/ringtest"
)

var bucket = [16]byte{1, 2, 3}

func create(t *testing.T) (r *Ring, p *ringtest.Putter, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ring")
	r, err := Create(path, bucket, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Begin([]byte("preamble")); err != nil {
		t.Fatal(err)
	}
	p, err = ringtest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, p, path
}

type put struct {
	message []byte
	first   int64
}

// TestModel puts, takes, frees and loads at random, and compares with a queue.
func TestModel(t *testing.T) {
	r, p, origin := create(t)
	random := rand.New(rand.NewPCG(1, 2))
	var kept []put // and not freed
	var places []uint64
	taken, next := 0, int64(0)
	for range 20_000 {
		switch random.IntN(5) {
		case 0, 1:
			message := make([]byte, random.IntN(1<<uint(random.IntN(18))))
			for i := range min(len(message), 64) {
				message[i] = byte(random.Uint32())
			}
			if p.Put(message, 1, next) {
				kept = append(kept, put{message, next})
				next++
			} else if used := p.Used(); used < Capacity/2 {
				t.Fatalf("no room for %d bytes beside %d", len(message), used)
			}
		case 2, 3:
			e, err := r.Take()
			if err != nil {
				t.Fatal(err)
			}
			if taken == len(kept) {
				if e != nil {
					t.Fatalf("took %+v of nothing", e)
				}
				continue
			}
			if want := kept[taken]; e == nil || e.First != want.first || e.Rows != 1 || !bytes.Equal(e.Message, want.message) {
				t.Fatalf("took %+v, want %+v", e, want)
			}
			places = append(places, e.Place)
			taken++
		case 4:
			if n := random.IntN(taken + 1); n > 0 {
				r.Free(places[n-1])
				kept, places, taken = kept[n:], places[n:], taken-n
			}
		}
		if r.Pending() != (taken < len(kept)) || r.Empty() != (len(kept) == 0) {
			t.Fatalf("pending %v, empty %v with %d of %d taken", r.Pending(), r.Empty(), taken, len(kept))
		}
		if random.IntN(400) == 0 {
			checkLoad(t, origin, kept)
		}
	}
	checkLoad(t, origin, kept)
}

func checkLoad(t *testing.T, path string, want []put) {
	t.Helper()
	s, err := Load(path, bucket)
	if err != nil || !s.Whole || !s.Logged {
		t.Fatalf("loaded %v %v, %v", s.Whole, s.Logged, err)
	}
	same := slices.EqualFunc(s.Entries, want, func(e Entry, p put) bool {
		return e.First == p.first && e.Rows == 1 && bytes.Equal(e.Message, p.message)
	})
	if !same || len(want) > 0 && string(s.Preamble) != "preamble" {
		t.Fatalf("loaded %d entries, want %d", len(s.Entries), len(want))
	}
}

// TestFlips turns one bit of each byte that matters.
func TestFlips(t *testing.T) {
	_, p, origin := create(t)
	for i := range 3 {
		p.Put(bytes.Repeat([]byte{byte(i)}, 30), 2, int64(2*i))
	}
	image, err := os.ReadFile(origin)
	if err != nil {
		t.Fatal(err)
	}
	var places []int
	add := func(from, to int) {
		for at := from; at < to; at++ {
			places = append(places, at)
		}
	}
	add(0, headAt+8)
	add(tailAt, tailAt+8)
	add(preambleAt, preambleText+8)
	for i := range 3 {
		add(entriesAt+56*i, entriesAt+56*i+entryBytes+30)
	}
	path := filepath.Join(t.TempDir(), "flipped")
	for _, at := range places {
		bit := at * 5 % 8
		image[at] ^= 1 << bit
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		image[at] ^= 1 << bit
		s, err := Load(path, bucket)
		if err == nil {
			t.Fatalf("bit %d of byte %d turned: %d entries and no error", bit, at, len(s.Entries))
		}
		for i, e := range s.Entries {
			if e.First != int64(2*i) || e.Rows != 2 || !bytes.Equal(e.Message, bytes.Repeat([]byte{byte(i)}, 30)) {
				t.Fatalf("bit %d of byte %d turned: entry %d is %+v", bit, at, i, e)
			}
		}
	}
}

// TestOtherBoot loads what may be on the disk after the machine has stopped.
func TestOtherBoot(t *testing.T) {
	_, p, origin := create(t)
	for i := range 3 {
		p.Put([]byte("message"), 1, int64(i))
	}
	image, err := os.ReadFile(origin)
	if err != nil {
		t.Fatal(err)
	}
	image[32] ^= 1
	order.PutUint32(image[12:], crc32.ChecksumIEEE(image[16:64]))
	path := filepath.Join(t.TempDir(), "ring")
	load := func(image []byte) Saved {
		t.Helper()
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, bucket)
		if err != nil || s.Whole {
			t.Fatalf("whole %v, %v", s.Whole, err)
		}
		return s
	}
	if s := load(image); len(s.Entries) != 3 {
		t.Errorf("%d entries, want 3", len(s.Entries))
	}
	image[entriesAt+32+entryBytes] ^= 1 // a page that did not come to the disk
	if s := load(image); len(s.Entries) != 1 {
		t.Errorf("%d entries, want the 1 before the damage", len(s.Entries))
	}
	for _, n := range []int{0, 1, 4096, entriesAt, len(image) - 1} {
		if s := load(image[:n]); len(s.Entries) > 1 {
			t.Errorf("%d entries of %d bytes", len(s.Entries), n)
		}
	}
	if s := load(make([]byte, fileBytes)); len(s.Entries) != 0 {
		t.Errorf("%d entries of zeros", len(s.Entries))
	}
}

func TestRefused(t *testing.T) {
	r, p, origin := create(t)
	p.Put([]byte("message"), 1, 0)
	if err := r.Begin(nil); err == nil {
		t.Error("a ring that is not empty got another preamble")
	}
	if _, err := Load(origin, [16]byte{9}); !errors.Is(err, ErrDamaged) {
		t.Errorf("another bucket's ring: %v", err)
	}
	p.SetHead(Capacity + 8)
	if _, err := r.Take(); !errors.Is(err, ErrDamaged) {
		t.Errorf("a head beyond what fits: %v", err)
	}
	empty, _, _ := create(t)
	if err := empty.Begin(make([]byte, MaxPreamble+1)); err == nil {
		t.Error("too long a preamble was taken")
	}
}
