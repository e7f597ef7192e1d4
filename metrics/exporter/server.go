package exporter

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	idleTime       = 2 * time.Minute // between two requests
	closeTime      = time.Second     // for answers that are on their way at the end
	maxHeaderBytes = 16 << 10
	maxConnections = 64
)

//go:embed page
var page embed.FS

// Source is what a server shows.
type Source struct {
	Gatherer prometheus.Gatherer
	Set      *metrics.Set
	Version  string
	Logger   *slog.Logger
}

// Server is a running HTTP server.
type Server struct {
	http    http.Server
	address string
	started time.Time
	source  Source
	done    chan struct{}
}

// Start starts a server.
func Start(o Options, source Source) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.readTime, o.writeTime = cmp.Or(o.readTime, readTime), cmp.Or(o.writeTime, writeTime)
	s := &Server{started: time.Now(), source: source, done: make(chan struct{})}
	scheme := "http"
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("exporter: certificate: %w", err)
		}
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		scheme = "https"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(o.ip().String(), strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	s.address = scheme + "://" + listener.Addr().String()
	// Below TLS, so that a client that never ends its handshake counts as well.
	listener = &limited{Listener: listener, free: make(chan struct{}, maxConnections), closed: make(chan struct{})}
	if s.http.TLSConfig != nil {
		listener = tls.NewListener(listener, s.http.TLSConfig)
	}
	s.http.Handler = guard(o, s.routes())
	s.http.ReadTimeout, s.http.WriteTimeout, s.http.IdleTimeout = o.readTime, o.writeTime, idleTime
	s.http.MaxHeaderBytes = maxHeaderBytes - 4096 // to which net/http adds as much
	s.http.ErrorLog = slog.NewLogLogger(source.Logger.Handler(), slog.LevelDebug)
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			source.Logger.Error("the metrics server ended", "address", s.address, "error", err)
		}
	}()
	source.Logger.Info("serving metrics", "address", s.address)
	return s, nil
}

// Address is the URL of the server, without a path.
func (s *Server) Address() string { return s.address }

// Close ends the server: answers that are on their way get a moment.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// A client that reads slowly must not hold up the end of the program.
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", newRecent(promhttp.HandlerFor(s.source.Gatherer, promhttp.HandlerOpts{
		ErrorLog: s.http.ErrorLog, EnableOpenMetrics: true, DisableCompression: true, // recent does it in less time
	})))
	mux.HandleFunc("/status.json", s.status)
	for path, file := range map[string]string{"/{$}": "page/page.html", "/page.js": "page/page.js", "/page.css": "page/page.css"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, page, file) })
	}
	return mux
}

// Status is the content of status.json.
type Status struct {
	Version      string                       `json:"version"`
	PID          int                          `json:"pid"`
	Uptime       float64                      `json:"uptime_seconds"` // of the server
	Time         float64                      `json:"time"`           // Unix seconds
	Buckets      []metrics.Status             `json:"buckets"`
	Stores       []metrics.StoreStatus        `json:"stores"` // of blocks
	Parameters   []metrics.ParametersStatus   `json:"parameters"`
	Trajectories []metrics.TrajectoriesStatus `json:"trajectories"`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	status := Status{
		Version: s.source.Version, PID: os.Getpid(), Uptime: now.Sub(s.started).Seconds(),
		Time:    float64(now.UnixMicro()) / 1e6,
		Buckets: each(s.source.Set.Buckets(), (*metrics.Bucket).Status), Stores: each(s.source.Set.Stores(), (*metrics.Store).Status),
		Parameters:   each(s.source.Set.AllParameters(), (*metrics.Parameters).Status),
		Trajectories: each(s.source.Set.AllTrajectories(), (*metrics.Trajectories).Status),
	}
	text, err := json.Marshal(status)
	if err != nil {
		http.Error(w, "no status", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // a client that is gone wants none
}

// each asks all how they are. Of none it is an empty list, which JSON tells from null.
func each[M, S any](all []M, status func(M) S) []S {
	found := make([]S, len(all))
	for i, m := range all {
		found[i] = status(m)
	}
	return found
}

// guard refuses what is not a plain question by someone who may ask.
func guard(o Options, next http.Handler) http.Handler {
	// Hashes have one length, so that the time of the comparison says nothing of that of a
	// password.
	given := func(user, password string) [sha256.Size]byte { return sha256.Sum256([]byte(user + ":" + password)) }
	secret := given(o.Username, o.Password)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if o.Username != "" {
			user, password, _ := r.BasicAuth()
			have := given(user, password)
			if subtle.ConstantTimeCompare(have[:], secret[:]) != 1 {
				h.Set("WWW-Authenticate", `Basic realm="persisting", charset="UTF-8"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
		}
		switch {
		case o.ip().IsLoopback() && !local(r.Host):
			// A page from elsewhere whose name was pointed here.
			http.Error(w, "this server answers to localhost only", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "read-only", http.StatusMethodNotAllowed)
		case r.ContentLength != 0:
			http.Error(w, "a request has no body here", http.StatusRequestEntityTooLarge)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// local tells whether the Host of a request is this machine by number or as localhost.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// limited has at most cap(free) connections open.
type limited struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	// Before the connection is accepted: those beyond the bound wait in the kernel's queue, and
	// take no memory here.
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &connection{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type connection struct {
	net.Conn
	release func()
}

func (c *connection) Close() error {
	defer c.release()
	return c.Conn.Close()
}
