package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/persisting/persisting/engine"
)

// Options say where a store is served.
type Options struct {
	// Socket is the path of a unix socket, which only the user of the process may connect to. The default is none.
	Socket string `json:"socket"`
	// Listen is an address of TCP such as "127.0.0.1:9642". The default is none.
	Listen string `json:"listen"`
	// AllowRemote must be true for an address that other machines can reach: whoever connects may read and write everything.
	AllowRemote bool `json:"allow_remote"`
}

const (
	// maxConnections bounds what clients may have open; each has a goroutine and what is being received there.
	maxConnections = 1024
	// acceptAgain is how long it is waited after a connection that could not be accepted.
	acceptAgain = 200 * time.Millisecond
)

// Server accepts the connections of clients.
type Server struct {
	o         Options
	visit     func(net.Conn) error
	listeners []net.Listener
	logger    *slog.Logger
	working   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

// Serve begins to accept connections, and calls visit with each, in a goroutine; the connection ends when it returns, and its error
// says why.
func Serve(o Options, logger *slog.Logger, visit func(net.Conn) error) (*Server, error) {
	v := &Server{o: o, visit: visit, logger: logger, open: map[net.Conn]struct{}{}}
	if err := v.listen(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	for _, l := range v.listeners {
		v.working.Go(func() { v.accept(l) })
	}
	return v, nil
}

func (v *Server) listen() error {
	if v.o.Socket == "" && v.o.Listen == "" {
		return fmt.Errorf("%w: neither socket nor listen says where to serve", engine.ErrInvalid)
	}
	if v.o.Socket != "" {
		l, err := listenUnix(v.o.Socket)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		v.listeners = append(v.listeners, l)
	}
	if v.o.Listen != "" {
		if err := checkAddress(v.o.Listen, v.o.AllowRemote); err != nil {
			return err
		}
		l, err := net.Listen("tcp", v.o.Listen)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		v.listeners = append(v.listeners, l)
	}
	return nil
}

func checkAddress(address string, remote bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: listen is %q, want an address such as 127.0.0.1:9642: %w", engine.ErrInvalid, address, err)
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() || remote {
		return nil
	}
	return fmt.Errorf("%w: listen is %q, which other machines can reach, and whoever does may read and write everything: "+
		"want an address of the loopback interface, or allow_remote", engine.ErrInvalid, address)
}

// listenUnix makes a socket that only this user may connect to: it gets its name when it has its mode. One that a process has
// left that no longer serves is replaced.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s is served already", path), c.Close())
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%s is there, and no socket", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // which has mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Addresses are where it serves, as clients name them.
func (v *Server) Addresses() (all []string) {
	for _, l := range v.listeners {
		if l.Addr().Network() == "unix" {
			all = append(all, "unix:"+v.o.Socket)
		} else {
			all = append(all, "tcp:"+l.Addr().String())
		}
	}
	return all
}

// Close ends the connections and waits for what they do at this moment.
func (v *Server) Close() error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return engine.ErrClosed
	}
	v.closed = true
	for c := range v.open {
		_ = c.Close() // who reads or writes there is told
	}
	v.mu.Unlock()
	var err error
	for _, l := range v.listeners {
		err = errors.Join(err, l.Close())
		if l.Addr().Network() == "unix" {
			err = errors.Join(err, os.Remove(v.o.Socket))
		}
	}
	v.working.Wait()
	return err
}

func (v *Server) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // there are too many files open, say
			v.logger.Warn("a connection could not be accepted", "error", err)
			time.Sleep(acceptAgain)
			continue
		}
		if !v.enter(conn) {
			_ = conn.Close()
			continue
		}
		v.working.Go(func() {
			defer v.leave(conn)
			if err := v.visit(conn); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				v.logger.Info("a client of the store is disconnected", "error", err)
			}
		})
	}
}

func (v *Server) enter(c net.Conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.open) >= maxConnections {
		return false
	}
	v.open[c] = struct{}{}
	return true
}

func (v *Server) leave(c net.Conn) {
	_ = c.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, c)
}
