package blob

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/persisting/persisting/vfs"
)

// pair is both ends of a connection.
func pair(t testing.TB, network string) (send, receive net.Conn) {
	t.Helper()
	address := filepath.Join(t.TempDir(), "s")
	if network == "tcp" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if receive, err = net.Dial(network, l.Addr().String()); err == nil {
		send, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = send.Close(), receive.Close() })
	return send, receive
}

// sent is a segment with one block.
func sent(t testing.TB, payload []byte) (*Segment, Want) {
	t.Helper()
	s := NewStore(vfs.OS, t.TempDir(), Identity{1, 2, 3}, 4, 16<<20)
	g, err := s.Create(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	if err := g.Begin(1, 0); err != nil {
		t.Fatal(err)
	}
	length := uint32(len(payload))
	page, ok := g.Reserve(length)
	if !ok {
		t.Fatal("no room")
	}
	if err := g.Write(page, &Header{Length: length, Namespace: "n", Key: []byte("k")}, [][]byte{payload}); err != nil {
		t.Fatal(err)
	}
	return g, Want{Page: page, Length: length, Namespace: "n", Key: []byte("k")}
}

// withoutFile hides from Send that a connection is one of the kernel.
type withoutFile struct{ net.Conn }

func TestWhatIsSentIsReceived(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, length := range []int{0, 1, 4096, 3 << 20} {
			payload := bytes.Repeat([]byte("0123456789abcdef."), length/17+1)[:length]
			g, want := sent(t, payload)
			if err := g.Check(want); err != nil {
				t.Error(err)
			}
			from, to := pair(t, network)
			for _, conn := range []net.Conn{from, withoutFile{from}} {
				failed := make(chan error, 1)
				go func() { failed <- g.Send(conn, want.Page, want.Length) }()
				got := make([]byte, length)
				if err := errors.Join(Receive(to, g.store.id, want, [][]byte{got[:length/3], got[length/3:]}), <-failed); err != nil {
					t.Errorf("%s, %d bytes: %v", network, length, err)
				}
				if !bytes.Equal(got, payload) {
					t.Errorf("%s, %d bytes: others were received", network, length)
				}
			}
		}
	}
}

func TestWhatIsReceivedIsCompared(t *testing.T) {
	payload := bytes.Repeat([]byte("abc"), 5000)
	g, want := sent(t, payload)
	from, to := pair(t, "unix")
	for name, other := range map[string]struct {
		id   Identity
		want Want
	}{
		"another store":     {Identity{9}, want},
		"another namespace": {g.store.id, Want{Length: want.Length, Namespace: "m", Key: want.Key}},
		"another key":       {g.store.id, Want{Length: want.Length, Namespace: "n", Key: []byte("l")}},
	} {
		failed := make(chan error, 1)
		go func() { failed <- g.Send(from, want.Page, want.Length) }()
		err := Receive(to, other.id, other.want, [][]byte{make([]byte, len(payload))})
		if !errors.Is(err, ErrBlock) || <-failed != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := g.file.WriteAt([][]byte{{0xee}}, int64(want.Page+1)*PageBytes+7000); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- g.Send(from, want.Page, want.Length) }()
	if err := Receive(to, g.store.id, want, [][]byte{make([]byte, len(payload))}); !errors.Is(err, ErrBlock) || <-failed != nil {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := g.file.Truncate(5 * PageBytes / 2); err != nil {
		t.Fatal(err)
	}
	go func() { failed <- errors.Join(g.Send(from, want.Page, want.Length), from.Close()) }()
	if err := Receive(to, g.store.id, want, [][]byte{make([]byte, len(payload))}); err == nil || errors.Is(err, ErrBlock) {
		t.Errorf("a file that ends: %v", err)
	}
	if err := <-failed; !errors.Is(err, ErrDisk) {
		t.Errorf("a file that ends: %v", err)
	}
}

// BenchmarkSend compares the ways from a segment in memory to a reader in memory: with the kernel's help, and through a buffer of
// the sender, beside a read of the reader's own.
func BenchmarkSend(b *testing.B) {
	for _, length := range []int{256 << 10, 3 << 19} {
		g, want := sent(b, bytes.Repeat([]byte("x"), length))
		into := [][]byte{make([]byte, length)}
		b.Run(fmt.Sprintf("%d/read", length), func(b *testing.B) {
			b.SetBytes(int64(length))
			for b.Loop() {
				if err := g.Read(want, into, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, network := range []string{"unix", "tcp"} {
			for name, hide := range map[string]func(net.Conn) net.Conn{
				"sendfile": func(c net.Conn) net.Conn { return c },
				"copied":   func(c net.Conn) net.Conn { return withoutFile{c} },
			} {
				b.Run(fmt.Sprintf("%d/%s/%s", length, network, name), func(b *testing.B) {
					from, to := pair(b, network)
					from = hide(from)
					asked := make(chan struct{})
					ended := make(chan error, 1)
					go func() {
						for range asked {
							if err := g.Send(from, want.Page, want.Length); err != nil {
								ended <- err
								return
							}
						}
						ended <- nil
					}()
					b.SetBytes(int64(length))
					for b.Loop() {
						asked <- struct{}{}
						if err := Receive(to, g.store.id, want, into); err != nil {
							b.Fatal(err)
						}
					}
					close(asked)
					if err := <-ended; err != nil {
						b.Fatal(err)
					}
				})
			}
		}
	}
}
