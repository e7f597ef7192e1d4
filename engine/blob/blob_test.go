package blob

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

func newSegment(t *testing.T) *Segment {
	t.Helper()
	mem := faultfs.NewMem()
	if err := mem.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	g, err := NewStore(mem, "/d", Identity{1, 2, 3}, 7, MinSegmentBytes).Create(4)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Begin(11, 1); err != nil {
		t.Fatal(err)
	}
	return g
}

// write writes a block of a key and returns what reads it.
func write(t *testing.T, g *Segment, key string, payload []byte) Want {
	t.Helper()
	page, ok := g.Reserve(uint32(len(payload)))
	if !ok {
		t.Fatal("no room")
	}
	h := Header{Namespace: "ns", Salt: "salt", Key: []byte(key), Length: uint32(len(payload)), Expires: 5, Pinned: true, Sequence: 9}
	if err := g.Write(page, &h, [][]byte{payload[:len(payload)/2], payload[len(payload)/2:]}); err != nil {
		t.Fatal(err)
	}
	return Want{Page: page, Length: h.Length, Namespace: "ns", Key: h.Key}
}

func read(g *Segment, w Want) ([]byte, error) {
	b := make([]byte, w.Length)
	err := g.Read(w, [][]byte{b[:len(b)/3], b[len(b)/3:]}, 0)
	return b, err
}

// TestLongBlocks reads blocks about as long as what is read at once, into pieces of all sizes, through the page cache and past it.
func TestLongBlocks(t *testing.T) {
	mem := faultfs.NewMem()
	if err := mem.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	for dir, fsys := range map[string]vfs.FS{"/d": mem, t.TempDir(): vfs.OS} {
		g, err := NewStore(fsys, dir, Identity{}, 7, 8<<20).Create(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Begin(1, 0); err != nil {
			t.Fatal(err)
		}
		for _, length := range []int{
			readBytes - 1, readBytes, readBytes + 1, 2*readBytes - 1, 2 * readBytes, 3*readBytes + 5, 2 * spanBytes, 4*spanBytes + 4097,
			2 * pastBytes, 2*pastBytes + 3*PageBytes - 1,
		} {
			longBlock(t, g, length)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func longBlock(t *testing.T, g *Segment, length int) {
	t.Helper()
	payload := make([]byte, length)
	for i := range payload {
		payload[i] = byte(i * 7 >> 3)
	}
	w := write(t, g, "key", payload)
	for _, step := range []int{1000, readBytes / 2, readBytes, readBytes + 1, length} {
		got := make([]byte, length)
		var pieces [][]byte
		for from := 0; from < length; from += step {
			pieces = append(pieces, got[from:min(from+step, length)], nil)
		}
		for helpers := -1; helpers < 4; helpers++ {
			for name, read := range map[string]func(Want, [][]byte, int) error{"through": g.Read, "past": g.ReadPast} {
				clear(got)
				if err := read(w, pieces, helpers); err != nil || !bytes.Equal(got, payload) {
					t.Errorf("%d bytes in pieces of %d with %d helpers, %s the cache: %v", length, step, helpers, name, err)
				}
			}
		}
	}
	if err := g.file.WriteAt([][]byte{{payload[length-1] ^ 1}}, int64(w.Page+1)*PageBytes+int64(length)-1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(g, w); !errors.Is(err, ErrBlock) {
		t.Errorf("%d bytes with another last one: %v", length, err)
	}
	if err := g.ReadPast(w, [][]byte{payload}, 0); !errors.Is(err, ErrBlock) {
		t.Errorf("%d bytes with another last one, past the cache: %v", length, err)
	}
	g.Return(w.Page, w.Length)
}

func TestOnlyWhatIsWantedIsRead(t *testing.T) {
	g := newSegment(t)
	payload := bytes.Repeat([]byte("payload"), 1000)
	w := write(t, g, "key", payload)
	if got, err := read(g, w); err != nil || !bytes.Equal(got, payload) {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Want){
		"key":       func(w *Want) { w.Key = []byte("kez") },
		"no key":    func(w *Want) { w.Key = nil },
		"namespace": func(w *Want) { w.Namespace = "n" },
		"shifted":   func(w *Want) { w.Namespace, w.Key = "n", []byte("skey") },
		"length":    func(w *Want) { w.Length-- },
		"page":      func(w *Want) { w.Page++ },
	} {
		other := w
		change(&other)
		if _, err := read(g, other); !errors.Is(err, ErrBlock) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if err := g.MarkDead(w.Page); err != nil {
		t.Fatal(err)
	}
	if _, err := read(g, w); !errors.Is(err, ErrBlock) {
		t.Errorf("a dead block: %v", err)
	}
}

func TestANewEpochVoidsWhatWasThere(t *testing.T) {
	g := newSegment(t)
	w := write(t, g, "key", []byte("payload"))
	if err := g.Begin(12, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := read(g, w); !errors.Is(err, ErrBlock) {
		t.Errorf("a block of the epoch before: %v", err)
	}
	again, err := g.store.Open(4)
	if err != nil || again.Epoch() != 12 || again.Ring() != 0 {
		t.Fatalf("epoch %d, ring %d, %v", again.Epoch(), again.Ring(), err)
	}
	if end, err := again.Walk(1, func(h Header) { t.Errorf("%+v", h) }); err != nil || end != 1 {
		t.Errorf("%d, %v", end, err)
	}
}

// TestWalkGoesOnBehindDamage destroys the header of a block among others.
func TestWalkGoesOnBehindDamage(t *testing.T) {
	g := newSegment(t)
	places := map[string]Want{}
	for _, key := range []string{"a", "b", "c"} {
		places[key] = write(t, g, key, bytes.Repeat([]byte(key), 5000))
	}
	if err := g.file.WriteAt([][]byte{{0xff}}, int64(places["b"].Page)*PageBytes+70); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, int64(g.store.lastPage()) * PageBytes} { // what the segment is, too
		if err := g.file.WriteAt([][]byte{{0xff}}, at); err != nil {
			t.Fatal(err)
		}
	}
	again, err := g.store.Open(4)
	if err != nil || again.Epoch() != 0 {
		t.Fatal(again.Epoch(), err)
	}
	var keys []string
	end, err := again.Walk(1, func(h Header) {
		keys = append(keys, string(h.Key))
		if h.Epoch != 11 || h.Namespace != "ns" || h.Salt != "salt" || !h.Pinned || h.Expires != 5 || h.Sequence != 9 {
			t.Errorf("%+v", h)
		}
	})
	if err != nil || end != g.Used() || !slices.Equal(keys, []string{"a", "c"}) {
		t.Errorf("%q up to page %d of %d, %v", keys, end, g.Used(), err)
	}
}

func TestASegmentTakesWhatFits(t *testing.T) {
	g := newSegment(t)
	if _, ok := g.Reserve(uint32(g.store.MaxLength()) + 1); ok {
		t.Error("took more than there is room")
	}
	page, ok := g.Reserve(uint32(g.store.MaxLength()))
	if !ok || page != 1 {
		t.Error(page, ok)
	}
	if _, ok := g.Reserve(0); ok {
		t.Error("took an empty block into a full segment")
	}
	g.Return(page, uint32(g.store.MaxLength()))
	n := uint32(0)
	for _, ok = g.Reserve(1); ok; _, ok = g.Reserve(1) {
		n++
	}
	if n != g.store.MaxBlocks() {
		t.Errorf("%d blocks, want %d", n, g.store.MaxBlocks())
	}
}

func FuzzHeader(f *testing.F) {
	page := make([]byte, PageBytes)
	(&Header{Namespace: "n", Salt: "s", Key: []byte("k"), Length: 3}).encode(page, Identity{})
	f.Add(page)
	f.Fuzz(func(t *testing.T, b []byte) {
		page := make([]byte, PageBytes)
		copy(page, b)
		h, ok := decode(page, Identity{})
		if !ok {
			return
		}
		again := make([]byte, PageBytes)
		h.encode(again, Identity{})
		if other, ok := decode(again, Identity{}); !ok || !bytes.Equal(other.Key, h.Key) || other.Namespace != h.Namespace {
			t.Errorf("%+v, then %+v", h, other)
		}
	})
}
