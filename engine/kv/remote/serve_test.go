package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/engine/wire"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny are options of a store of few and small segments.
func tiny() kv.Options {
	return kv.Options{CapacityBytes: 12 * (136 << 10), SegmentBytes: 128 << 10, Workers: 2}
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

// served is a store with a server, in this process.
type served struct {
	t      *testing.T
	o      kv.Options
	dir    string
	store  *kv.Store
	server *Server
}

func serve(t *testing.T, change func(*kv.Options)) *served {
	t.Helper()
	s := &served{t: t, o: tiny(), dir: t.TempDir()}
	if change != nil {
		change(&s.o)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *served) socket() string  { return filepath.Join(s.dir, "sock") }
func (s *served) address() string { return "unix:" + s.socket() }

func (s *served) start() {
	s.t.Helper()
	var err error
	if s.store, err = kv.Open(filepath.Join(s.dir, "kv"), s.o); err != nil {
		s.t.Fatal(err)
	}
	if s.server, err = Serve(s.store, wire.Options{Socket: s.socket(), Listen: "127.0.0.1:0"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) stop() {
	if s.server == nil {
		return
	}
	if err := errors.Join(s.server.Close(), s.store.Close()); err != nil {
		s.t.Error(err)
	}
	s.server = nil
}

func (s *served) client(address string) *Client {
	s.t.Helper()
	c, err := Connect(address, ConnectOptions{Required: true, Workers: 3})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			s.t.Error(err)
		}
	})
	if _, err := c.Space("", ""); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func put(t testing.TB, c kv.Blocks, space uint32, key string, value []byte) int8 {
	t.Helper()
	b := &transfer.Batch{Space: space, Items: []transfer.Item{{Key: []byte(key), Pieces: [][]byte{value[:len(value)/3], value[len(value)/3:]}}}, Results: make([]int8, 1)}
	if err := c.Set(b); err != nil {
		t.Fatal(err)
	}
	return b.Results[0]
}

func fetch(t testing.TB, c kv.Blocks, space uint32, key string, length int) ([]byte, int8) {
	t.Helper()
	into := make([]byte, length)
	b := &transfer.Batch{Space: space, Items: []transfer.Item{{Key: []byte(key), Pieces: [][]byte{into[:length/2], into[length/2:]}}}, Results: make([]int8, 1)}
	if err := c.Get(b); err != nil {
		t.Fatal(err)
	}
	return into, b.Results[0]
}

func TestTheVerbsOverASocket(t *testing.T) {
	s := serve(t, nil)
	for _, address := range s.server.Addresses() {
		c := s.client(address)
		other, err := c.Space("model "+address, "salt")
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int{0, 1, 4095, 4096, 4097, 60000} {
			key := fmt.Sprintf("%s %d", address, length)
			want := payload(key, 1, length)
			if r := put(t, c, other, key, want); r != transfer.OK {
				t.Fatalf("%s: set: %d", key, r)
			}
			if got, r := fetch(t, c, other, key, length); r != transfer.OK || !bytes.Equal(got, want) {
				t.Errorf("%s: get: %d", key, r)
			}
			if r := put(t, c, other, key, want); r != transfer.Present {
				t.Errorf("%s: set again: %d", key, r)
			}
			if _, r := fetch(t, c, other, key, length+1); r != transfer.Length {
				t.Errorf("%s: get of another length: %d", key, r)
			}
			if _, r := fetch(t, c, 0, key, length); r != transfer.Absent {
				t.Errorf("%s: get in another namespace: %d", key, r)
			}
		}
		if r := put(t, c, other, "long", make([]byte, 128<<10)); r != transfer.TooLong {
			t.Errorf("a set of a whole segment: %d", r)
		}
		first := fmt.Sprintf("%s 1", address)
		keys := [][]byte{[]byte(first), fmt.Appendf(nil, "%s 4095", address), []byte("none"), fmt.Appendf(nil, "%s 0", address)}
		lengths := make([]int64, 4)
		if err := c.ExistsAll(other, keys, time.Second, lengths); err != nil || fmt.Sprint(lengths) != "[1 4095 -1 0]" {
			t.Errorf("lengths %v, %v", lengths, err)
		}
		if n, err := c.Prefix(other, keys, time.Second); n != 2 || err != nil {
			t.Errorf("prefix %d, %v", n, err)
		}
		for name, verb := range map[string]func(uint32, []byte) (bool, error){
			"pin": c.Pin, "unpin": c.Unpin, "delete": c.Delete,
			"touch": func(space uint32, key []byte) (bool, error) { return c.Touch(space, key, time.Minute) },
		} {
			if name == "delete" {
				continue
			}
			if ok, err := verb(other, []byte(first)); !ok || err != nil {
				t.Errorf("%s: %v, %v", name, ok, err)
			}
			if ok, err := verb(other, []byte("none")); ok || err != nil {
				t.Errorf("%s of nothing: %v, %v", name, ok, err)
			}
		}
		if err := errors.Join(c.Flush(), c.SetQuota("salt", 1<<40)); err != nil {
			t.Error(err)
		}
		if page, next, err := c.Keys("model "+address, kv.Cursor{}, 4); len(page) != 4 || next == nil || err != nil {
			t.Errorf("%d keys, %v, %v", len(page), next, err)
		}
		if st, err := c.Report(); err != nil || st.Namespaces["model "+address].Keys != 6 || st.Salts["salt"].QuotaBytes != 1<<40 || st.Disconnected != "" {
			t.Errorf("%+v, %v", st, err)
		}
		if v, err := c.Verify(); err != nil || !v.Sound || v.Keys < 6 {
			t.Errorf("%+v, %v", v, err)
		}
		if err := c.Evict(1); !errors.Is(err, kv.ErrInvalid) {
			t.Error(err)
		}
		if ok, err := c.Delete(other, []byte(first)); !ok || err != nil {
			t.Errorf("delete: %v, %v", ok, err)
		}
		if n, err := c.DropNamespace("model " + address); n != 5 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
	}
}

func TestManyKeysAtOnce(t *testing.T) {
	s := serve(t, func(o *kv.Options) { o.CapacityBytes, o.SegmentBytes = 256<<20, 8<<20 })
	c := s.client(s.address())
	const count = 3*maxAsked + 7
	b := &transfer.Batch{Results: make([]int8, count)}
	keys := make([][]byte, count)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key %d", i)
		b.Items = append(b.Items, transfer.Item{Key: keys[i], Pieces: [][]byte{payload("many", i, 10)}})
	}
	if err := c.Set(b); err != nil {
		t.Fatal(err)
	}
	lengths := make([]int64, count)
	if err := c.ExistsAll(0, keys, 0, lengths); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if b.Results[i] != transfer.OK || lengths[i] != 10 {
			t.Fatalf("key %d: result %d, length %d", i, b.Results[i], lengths[i])
		}
		b.Items[i].Pieces = [][]byte{make([]byte, 10)}
	}
	if n, err := c.Prefix(0, keys, 0); n != count || err != nil {
		t.Errorf("prefix %d, %v", n, err)
	}
	if err := c.Get(b); err != nil {
		t.Fatal(err)
	}
	for i, item := range b.Items {
		if b.Results[i] != transfer.OK || !bytes.Equal(item.Pieces[0], payload("many", i, 10)) {
			t.Fatalf("key %d: result %d", i, b.Results[i])
		}
	}
}

func TestADeadServerIsMisses(t *testing.T) {
	s := serve(t, nil)
	c := s.client(s.address())
	space, err := c.Space("n", "")
	if err != nil {
		t.Fatal(err)
	}
	if r := put(t, c, space, "key", payload("key", 1, 9000)); r != transfer.OK {
		t.Fatal(r)
	}
	s.stop()
	if n, err := c.Exists(space, []byte("key"), time.Second); n != -1 || err != nil {
		t.Errorf("exists: %d, %v", n, err)
	}
	if _, r := fetch(t, c, space, "key", 9000); r != transfer.Failed {
		t.Errorf("get: %d", r)
	}
	if r := put(t, c, space, "other", payload("other", 1, 9000)); r != transfer.Failed {
		t.Errorf("set: %d", r)
	}
	for name, verb := range map[string]func(uint32, []byte) (bool, error){"pin": c.Pin, "unpin": c.Unpin, "delete": c.Delete} {
		if ok, err := verb(space, []byte("key")); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if err := c.Flush(); !errors.Is(err, ErrDisconnected) {
		t.Errorf("flush: %v", err)
	}
	if st, err := c.Report(); err != nil || st.Disconnected == "" {
		t.Errorf("%+v, %v", st, err)
	}
	s.start()
	for range 500 {
		if n, _ := c.Exists(space, []byte("key"), 0); n == 9000 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got, r := fetch(t, c, space, "key", 9000); r != transfer.OK || !bytes.Equal(got, payload("key", 1, 9000)) {
		t.Errorf("after the server has come back: %d", r)
	}
}

func TestNobodyServes(t *testing.T) {
	address := "unix:" + filepath.Join(t.TempDir(), "none")
	if c, err := Connect(address, ConnectOptions{Required: true}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("%v, %v", c, err)
	}
	c, err := Connect(address, ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Space("", ""); err != nil {
		t.Error(err)
	}
	if _, r := fetch(t, c, 0, "key", 1); r != transfer.Failed {
		t.Errorf("get: %d", r)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, kv.ErrClosed) {
		t.Error(err)
	}
	for _, wrong := range []string{"", "unix", "unix:", "http://x", "/tmp/x"} {
		if c, err := Connect(wrong, ConnectOptions{}); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("%q: %v, %v", wrong, c, err)
		}
	}
}

func TestWhereAServerListens(t *testing.T) {
	s := serve(t, nil)
	info, err := os.Stat(s.socket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]wire.Options{
		"nowhere": {}, "served already": {Socket: s.socket()}, "no socket": {Socket: file},
		"everywhere": {Listen: ":0"}, "others": {Listen: "0.0.0.0:0"}, "no address": {Listen: "x"},
	} {
		if v, err := Serve(s.store, o); err == nil {
			t.Errorf("%s: %v", name, v.Close())
		}
	}
	v, err := Serve(s.store, wire.Options{Listen: "0.0.0.0:0", AllowRemote: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	s.stop()
	if _, err := os.Lstat(s.socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is there after the end: %v", err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil { // as a process that was killed leaves it
		t.Fatal(err)
	}
	s.start()
	s.client(s.address())
}

// visit is a connection that has greeted.
func (s *served) visit() net.Conn {
	s.t.Helper()
	c, err := net.Dial("unix", s.socket())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	hello := append([]byte(wireMagic), wireVersion, 0, 0, 0, 0, 0, 0, 0)
	if _, err := c.Write(hello); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, welcomeBytes)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestAReaderThatDoesNotReadHoldsNobody(t *testing.T) {
	s := serve(t, func(o *kv.Options) { o.CapacityBytes, o.SegmentBytes = 64<<20, 8<<20 })
	c := s.client(s.address())
	want := payload("large", 1, 4<<20)
	if r := put(t, c, 0, "large", want); r != transfer.OK {
		t.Fatal(r)
	}
	for range 20 {
		slow := s.visit()
		f := wire.Frame{Op: opLoad, ID: 1, Content: (&keyed{0, 4 << 20, [][]byte{[]byte("large")}}).encode()}
		if _, err := slow.Write(f.Encode(nil)); err != nil {
			t.Fatal(err)
		}
		f = wire.Frame{Op: opSet, ID: 1, Content: le.AppendUint64((&keyed{0, 0, [][]byte{[]byte("never")}}).encode(), 4<<20)}
		half := s.visit()
		if _, err := half.Write(append(f.Encode(nil), make([]byte, 1<<20)...)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for i := range 20 {
		if got, r := fetch(t, c, 0, "large", 4<<20); r != transfer.OK || !bytes.Equal(got, want) {
			t.Fatalf("get: %d", r)
		}
		if r := put(t, c, 0, fmt.Sprint(i), payload("x", i, 1000)); r != transfer.OK {
			t.Fatalf("set: %d", r)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if n, err := c.Exists(0, []byte("never"), 0); n >= 0 || err != nil {
		t.Errorf("what was sent in part is there: %d, %v", n, err)
	}
}

func TestLeasesAndPinsEndWithTheConnection(t *testing.T) {
	var mu sync.Mutex
	clock := time.Unix(1e9, 0)
	s := serve(t, func(o *kv.Options) {
		o.Policy = "fifo"
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return clock
		}
	})
	pass := func(d time.Duration) {
		for range int(d / time.Second) {
			mu.Lock()
			clock = clock.Add(time.Second)
			mu.Unlock()
			s.server.mu.Lock()
			all := make([]*visitor, 0, len(s.server.open))
			for c := range s.server.open {
				all = append(all, c)
			}
			s.server.mu.Unlock()
			for _, c := range all {
				c.renew()
			}
		}
	}
	churn := func(n int) {
		for i := range 3 * int(s.o.CapacityBytes/20000) {
			if r := put(t, s.store, 0, fmt.Sprint(n, i), payload("churn", n*1000+i, 15000)); r != transfer.OK {
				t.Fatal(r)
			}
		}
	}
	c, watcher := s.client(s.address()), s.client(s.address())
	for _, key := range []string{"leased", "pinned"} {
		if r := put(t, c, 0, key, payload(key, 1, 20000)); r != transfer.OK {
			t.Fatal(r)
		}
	}
	if _, err := c.Exists(0, []byte("leased"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Pin(0, []byte("pinned")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	there := func(key string) bool {
		n, err := watcher.Exists(0, []byte(key), 0)
		if err != nil {
			t.Fatal(err)
		}
		return n >= 0
	}
	pass(30 * time.Second)
	churn(1)
	if !there("leased") || !there("pinned") {
		t.Error("a lease or a pin has ended before its time")
	}
	pass(60 * time.Second)
	churn(2)
	if there("leased") || !there("pinned") {
		t.Error("a lease goes on, or a pin has ended")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		s.server.shared.mutex.Lock()
		left := s.server.shared.pinned
		s.server.shared.mutex.Unlock()
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	pass(15 * time.Second)
	churn(3)
	if there("pinned") {
		t.Error("a pin goes on after the end of its connection")
	}
}

func TestPinsOfClientsTakeHalfAtMost(t *testing.T) {
	s := serve(t, nil)
	c := s.client(s.address())
	refused := false
	for i := range 40 {
		key := fmt.Sprint(i)
		if r := put(t, c, 0, key, payload(key, 1, 30000)); r != transfer.OK {
			t.Fatal(r)
		}
		if _, err := c.Pin(0, []byte(key)); errors.Is(err, kv.ErrPinned) {
			refused = true
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("all was pinned")
	}
}

func TestTheLastSubmittedWinsOverASocket(t *testing.T) {
	s := serve(t, nil)
	c := s.client(s.address())
	for round := range 20 {
		key := fmt.Sprintf("key %d", round)
		tickets := 0
		var kept []*transfer.Batch
		for n := range 30 {
			b := &transfer.Batch{Items: []transfer.Item{{Key: []byte(key), Pieces: [][]byte{payload(key, n, 500)}}}, Results: make([]int8, 1)}
			if _, err := c.SubmitSet(b); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, b)
		}
		if round%2 == 1 {
			if ok, err := c.Delete(0, []byte(key)); !ok || err != nil {
				t.Errorf("delete: %v, %v", ok, err)
			}
		}
		for tickets < len(kept) {
			tickets += c.Drain(make([]uint64, 10))
			time.Sleep(time.Millisecond)
		}
		got, r := fetch(t, c, 0, key, 500)
		switch {
		case round%2 == 1 && r != transfer.Absent:
			t.Errorf("round %d: after a delete: %d", round, r)
		case round%2 == 0 && (r != transfer.OK || !bytes.Equal(got, payload(key, 29, 500))):
			t.Errorf("round %d: not the last: %d", round, r)
		}
	}
}

func TestDamageIsAMissOverASocket(t *testing.T) {
	s := serve(t, nil)
	c := s.client(s.address())
	if r := put(t, c, 0, "key", payload("key", 1, 9000)); r != transfer.OK {
		t.Fatal(r)
	}
	places, err := s.store.Locate(0, [][]byte{[]byte("key")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(places[0].Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{0xee}, places[0].Offset+8000); err != nil {
		t.Fatal(err)
	}
	if _, r := fetch(t, c, 0, "key", 9000); r != transfer.Damaged {
		t.Errorf("first: %d", r)
	}
	if _, r := fetch(t, c, 0, "key", 9000); r != transfer.Absent {
		t.Errorf("then: %d", r)
	}
	if st := s.store.Stats(); st.Misses["damaged"] != 1 {
		t.Errorf("misses %v", st.Misses)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	s := serve(t, func(o *kv.Options) { o.CapacityBytes, o.SegmentBytes = 32<<20, 1<<20 })
	var all sync.WaitGroup
	for n := range 4 {
		c := s.client(s.server.Addresses()[n%2])
		all.Go(func() {
			for i := range 200 {
				key := fmt.Sprint(i % 50)
				if i%3 == 0 {
					put(t, c, 0, key, payload(key, 1, 20000))
				} else if got, r := fetch(t, c, 0, key, 20000); r == transfer.OK && !bytes.Equal(got, payload(key, 1, 20000)) {
					t.Errorf("client %d: wrong bytes of %s", n, key)
				} else if r != transfer.OK && r != transfer.Absent {
					t.Errorf("client %d: %d", n, r)
				}
			}
		})
	}
	all.Wait()
}

// FuzzServer sends a server what no client would.
func FuzzServer(f *testing.F) {
	about := (&keyed{0, 1000, [][]byte{[]byte("key"), []byte("other")}}).encode()
	one := (&keyed{0, 9, [][]byte{[]byte("key")}}).encode()
	for op := range uint8(opCall + 2) {
		for _, content := range [][]byte{nil, about, one, about[:9], append(one, 1, 2, 3, 4, 5, 6, 7, 8), []byte(`{"verb": "keys", "limit": -5}`), []byte(`{"verb":"stats"}`)} {
			f.Add((&wire.Frame{Op: op, ID: 7, Content: content}).Encode(nil))
		}
	}
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Add(make([]byte, 64))
	s := &served{dir: f.TempDir(), o: tiny()}
	store, err := kv.Open(filepath.Join(s.dir, "kv"), s.o)
	if err != nil {
		f.Fatal(err)
	}
	server, err := Serve(store, wire.Options{Socket: s.socket()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := errors.Join(server.Close(), store.Close()); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := &served{t: t, dir: s.dir}
		c := s.visit()
		if _, err := c.Write(sent); err != nil {
			return // it was thrown out before the end
		}
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c)
		well := s.client(s.address())
		if r := put(t, well, 0, "well", []byte("and alive")); r <= 0 {
			t.Fatalf("the server is not well afterwards: %d", r)
		}
	})
}
