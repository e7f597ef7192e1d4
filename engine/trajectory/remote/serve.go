package remote

import (
	"log/slog"
	"net"

	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

// Server gives clients in other processes the verbs of a store.
type Server struct {
	clients *wire.Server
}

// Serve begins to serve a store. The server is to be closed before the store.
func Serve(s *trajectory.Store, o wire.Options, numbers Numbers, logger *slog.Logger) (*Server, error) {
	clients, err := wire.Serve(o, logger, func(conn net.Conn) error {
		c := &visitor{Conn: conn, store: s, numbers: numbers, logger: logger}
		defer c.leave()
		return c.serve()
	})
	if err != nil {
		return nil, err
	}
	return &Server{clients}, nil
}

// Addresses are where it serves, as clients name them.
func (v *Server) Addresses() []string { return v.clients.Addresses() }

// Close ends the connections and waits for what they do at this moment.
func (v *Server) Close() error { return v.clients.Close() }
