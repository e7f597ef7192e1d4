package remote

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/wire"
)

// renewEvery is how often leases are given anew that are longer than a grant.
const renewEvery = 2 * time.Second

// Server gives clients in other processes the verbs of a store.
type Server struct {
	shared   shared
	clients  *wire.Server
	renewing sync.WaitGroup
	stop     chan struct{}

	mu   sync.Mutex // guards what follows
	open map[*visitor]struct{}
}

// Serve begins to serve a store. The server is to be closed before the store.
func Serve(s *kv.Store, o wire.Options) (*Server, error) {
	of := s.Options()
	v := &Server{shared: shared{store: s, options: of}, open: map[*visitor]struct{}{}, stop: make(chan struct{})}
	v.shared.room.init(of.MaxStoreBacklogBytes)
	clients, err := wire.Serve(o, of.Logger, v.visit)
	if err != nil {
		return nil, err
	}
	v.clients = clients
	v.renewing.Go(v.renew)
	return v, nil
}

// Addresses are where it serves, as clients name them.
func (v *Server) Addresses() []string { return v.clients.Addresses() }

// Close ends the connections and waits for what they do at this moment.
func (v *Server) Close() error {
	err := v.clients.Close()
	if errors.Is(err, engine.ErrClosed) {
		return kv.ErrClosed
	}
	close(v.stop)
	v.renewing.Wait()
	return err
}

// visit answers on a connection until it ends, and with it its pins, and leases that are not given anew.
func (v *Server) visit(conn net.Conn) error {
	c := &visitor{Conn: conn, shared: &v.shared, held: map[uint64]hold{}}
	v.mu.Lock()
	v.open[c] = struct{}{}
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.open, c)
		v.mu.Unlock()
		c.forget()
	}()
	return c.serve()
}

// renew gives leases anew that clients hold.
func (v *Server) renew() {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-ticker.C:
		}
		v.mu.Lock()
		all := make([]*visitor, 0, len(v.open))
		for c := range v.open {
			all = append(all, c)
		}
		v.mu.Unlock()
		for _, c := range all {
			c.renew()
		}
	}
}
