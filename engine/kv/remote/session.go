package remote

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/wire"
)

// ErrDisconnected is returned by what cannot be answered without a server.
var ErrDisconnected = errors.New("kv: no connection to the server of the store")

// session is the connections to one server, which all end when one does.
type session struct {
	id        blob.Identity
	maxLength int64
	control   *link
	data      chan *link
	links     []*link
	broken    chan struct{}
	once      sync.Once
	reason    error // before broken is closed

	mu     sync.Mutex
	spaces map[uint32]uint32 // numbers of the server, by those of the client
}

// link is a connection, for one request at a time.
type link struct {
	mu     sync.Mutex
	conn   net.Conn
	last   uint64
	out    []byte
	buffer []byte
}

// The times between two tries to connect.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
	// dialTime is how long a server may take to greet.
	dialTime = 2 * time.Second
	// bulkTime is how long it may take for what reads or writes everything.
	bulkTime = time.Hour
)

func (s *session) greet(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return err
	}
	hello := append([]byte(wireMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	le.PutUint32(hello[8:], wireVersion)
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var welcome [welcomeBytes]byte
	if _, err := io.ReadFull(conn, welcome[:]); err != nil {
		return err
	}
	if string(welcome[:8]) != wireMagic {
		return fmt.Errorf("%w: it greets with % x", wire.ErrProtocol, welcome[:8])
	}
	if v := le.Uint32(welcome[8:]); v != wireVersion {
		return fmt.Errorf("%w: it speaks version %d, want %d", wire.ErrProtocol, v, wireVersion)
	}
	copy(s.id[:], welcome[16:])
	s.maxLength = int64(le.Uint64(welcome[32:]))
	return nil
}

// fail ends a session.
func (s *session) fail(reason error) {
	s.once.Do(func() {
		s.reason = reason
		close(s.broken)
		for _, l := range s.links {
			_ = l.conn.Close() // who reads or writes there is told
		}
	})
}

// ask sends a request and reads its answer. more are sent behind the request, and then behind what was read. The session ends
// when the connection fails.
func (s *session) ask(l *link, op uint8, content []byte, limit time.Duration, pieces [][]byte, then func(io.Reader, []byte) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	f := wire.Frame{Op: op, ID: l.last, Content: content}
	l.out = f.Encode(l.out[:0])
	err := l.conn.SetDeadline(time.Now().Add(limit))
	if err == nil {
		all := append(net.Buffers{l.out}, pieces...)
		_, err = all.WriteTo(l.conn)
	}
	if err == nil {
		f, err = wire.ReadFrame(l.conn, &l.buffer, maxFrameBytes)
	}
	if err == nil && (f.Op != op || f.ID != l.last) {
		err = fmt.Errorf("%w: operation %d, request %d is answered by %d, %d", wire.ErrProtocol, op, l.last, f.Op, f.ID)
	}
	if err == nil {
		if refused := refusal(f); refused != nil {
			return refused
		}
		err = then(l.conn, f.Content)
	}
	if err != nil && !errors.Is(err, blob.ErrBlock) {
		err = fmt.Errorf("%w: %w", ErrDisconnected, err)
		s.fail(err)
	}
	return err
}
