package kv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/blob"
)

// ServeOptions say where a store is served.
type ServeOptions struct {
	// Socket is the path of a unix socket, which only the user of the process may connect to. The default is none.
	Socket string `json:"socket"`
	// Listen is an address of TCP such as "127.0.0.1:9642". The default is none.
	Listen string `json:"listen"`
	// AllowRemote must be true for an address that other machines can reach: whoever connects may read and write everything.
	AllowRemote bool `json:"allow_remote"`
}

const (
	// maxConnections bounds what clients may have open; each has a goroutine and at most a buffer of one block.
	maxConnections = 1024
	// patience is how long a client may take to send what it has begun, or to take what it has asked for.
	patience = 30 * time.Second
	// grant is the longest lease that is given at once. A longer one, or a pin, is given anew while the client is connected.
	grant      = 10 * time.Second
	renewEvery = 2 * time.Second
	// maxHeld bounds the leases beyond a grant that one connection holds.
	maxHeld = 1 << 18
)

// Server gives clients in other processes the verbs of a store.
type Server struct {
	store     *Store
	o         ServeOptions
	listeners []net.Listener
	logger    *slog.Logger
	room      room // for what is being received
	working   sync.WaitGroup
	stop      chan struct{}

	mu     sync.Mutex
	open   map[*visitor]struct{}
	pinned int64 // bytes that clients have pinned
	closed bool
}

// visitor is a connection of a client.
type visitor struct {
	net.Conn
	server *Server
	buffer []byte // of frames
	block  []byte // that was received last

	mu   sync.Mutex
	held map[uint64]hold // by hash
}

// hold is a lease, or a pin, of a client.
type hold struct {
	upTo  uint32 // tick; noEnd of a pin
	bytes int64  // of a pin
}

const noEnd = math.MaxUint32

// Serve begins to serve a store. The server is to be closed before the store.
func (s *Store) Serve(o ServeOptions) (*Server, error) {
	v := &Server{store: s, o: o, logger: s.o.Logger, open: map[*visitor]struct{}{}, stop: make(chan struct{})}
	v.room.init(s.o.MaxStoreBacklogBytes)
	if err := v.listen(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	for _, l := range v.listeners {
		v.working.Go(func() { v.accept(l) })
	}
	v.working.Go(v.renew)
	return v, nil
}

func (v *Server) listen() error {
	if v.o.Socket == "" && v.o.Listen == "" {
		return fmt.Errorf("%w: neither socket nor listen says where to serve", ErrInvalid)
	}
	if v.o.Socket != "" {
		l, err := listenUnix(v.o.Socket)
		if err != nil {
			return fmt.Errorf("kv: serve: %w", err)
		}
		v.listeners = append(v.listeners, l)
	}
	if v.o.Listen != "" {
		if err := checkAddress(v.o.Listen, v.o.AllowRemote); err != nil {
			return err
		}
		l, err := net.Listen("tcp", v.o.Listen)
		if err != nil {
			return fmt.Errorf("kv: serve: %w", err)
		}
		v.listeners = append(v.listeners, l)
	}
	return nil
}

func checkAddress(address string, remote bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: listen is %q, want an address such as 127.0.0.1:9642: %w", ErrInvalid, address, err)
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() || remote {
		return nil
	}
	return fmt.Errorf("%w: listen is %q, which other machines can reach, and whoever does may read and write everything: "+
		"want an address of the loopback interface, or allow_remote", ErrInvalid, address)
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
		return ErrClosed
	}
	v.closed = true
	close(v.stop)
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
			time.Sleep(renewEvery / 10)
			continue
		}
		c := &visitor{Conn: conn, server: v, held: map[uint64]hold{}}
		if !v.enter(c) {
			_ = conn.Close()
			continue
		}
		v.working.Go(func() {
			defer v.leave(c)
			if err := c.serve(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				v.logger.Info("a client of the store is disconnected", "error", err)
			}
		})
	}
}

func (v *Server) enter(c *visitor) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.open) >= maxConnections {
		return false
	}
	v.open[c] = struct{}{}
	return true
}

// leave ends a connection, and with it its pins, and leases that are not given anew.
func (v *Server) leave(c *visitor) {
	_ = c.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, c)
	for _, h := range c.held {
		v.pinned -= h.bytes
	}
	clear(c.held)
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

func (c *visitor) renew() {
	s := c.server.store
	now, most := s.tick(), s.leaseUpTo(grant)
	c.mu.Lock()
	defer c.mu.Unlock()
	for hash, h := range c.held {
		if h.upTo <= now {
			delete(c.held, hash)
			continue
		}
		s.renew(hash, min(h.upTo, most))
	}
}

// serve answers requests until the connection ends.
func (c *visitor) serve() error {
	if err := c.greet(); err != nil {
		return err
	}
	for {
		if err := c.SetDeadline(time.Time{}); err != nil {
			return err
		}
		f, err := readFrame(c, &c.buffer)
		if err != nil {
			return err
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if err := c.answer(f); err != nil {
			return err
		}
	}
}

func (c *visitor) greet() error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var hello [helloBytes]byte
	if _, err := io.ReadFull(c, hello[:]); err != nil {
		return err
	}
	s := c.server.store
	welcome := append([]byte(wireMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	le.PutUint32(welcome[8:], wireVersion)
	id := s.blobs.ID()
	welcome = le.AppendUint64(append(welcome, id[:]...), uint64(s.blobs.MaxLength()))
	if _, err := c.Write(welcome); err != nil {
		return err
	}
	if string(hello[:8]) != wireMagic || le.Uint32(hello[8:]) != wireVersion {
		return fmt.Errorf("%w: a client greets with % x", ErrProtocol, hello)
	}
	return nil
}

// answer does what a request asks for. An error is of the connection.
func (c *visitor) answer(f frame) error {
	switch f.op {
	case opLoad:
		return c.load(f)
	case opSet:
		return c.set(f)
	}
	content, err := c.result(f)
	if errors.Is(err, ErrProtocol) {
		return err
	}
	if err != nil {
		return c.send(f.failure(err))
	}
	return c.send(frame{op: f.op, id: f.id, content: content})
}

func (c *visitor) send(f frame) error {
	_, err := c.Write(f.encode(nil))
	return err
}

// result is the content of the answer to a request without a payload.
func (c *visitor) result(f frame) ([]byte, error) {
	s := c.server.store
	switch f.op {
	case opSpace:
		return c.space(f.content)
	case opCall:
		return c.call(f.content)
	}
	k, rest, err := decodeKeys(f.content)
	if err != nil || len(rest) > 0 {
		return nil, errors.Join(err, fmt.Errorf("%w: %d bytes behind keys", ErrProtocol, len(rest)))
	}
	switch f.op {
	case opExists, opPrefix:
		return c.look(f.op, &k)
	case opDelete:
		return each(k.keys, func(key []byte) (bool, error) { return s.Delete(k.space, key) })
	case opTouch:
		ttl, err := k.time()
		if err != nil {
			return nil, err
		}
		return each(k.keys, func(key []byte) (bool, error) { return s.Touch(k.space, key, ttl) })
	case opPin:
		return each(k.keys, func(key []byte) (bool, error) { return c.pin(k.space, key) })
	case opUnpin:
		return each(k.keys, func(key []byte) (bool, error) { return c.unpin(k.space, key) })
	case opSuspect:
		return nil, c.suspect(&k)
	}
	return nil, fmt.Errorf("%w: operation %d", ErrProtocol, f.op)
}

func each(keys [][]byte, change func([]byte) (bool, error)) ([]byte, error) {
	results := make([]byte, len(keys))
	for i, key := range keys {
		ok, err := change(key)
		if err != nil {
			return nil, err
		}
		if ok {
			results[i] = byte(OK)
		}
	}
	return results, nil
}

func (c *visitor) space(b []byte) ([]byte, error) {
	if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
		return nil, fmt.Errorf("%w: %d bytes about a space", ErrProtocol, len(b))
	}
	end := 4 + le.Uint32(b)
	number, err := c.server.store.Space(string(b[4:end]), string(b[end:]))
	if err != nil {
		return nil, err
	}
	return le.AppendUint32(nil, number), nil
}

// look answers which keys there are, with leases.
func (c *visitor) look(op uint8, k *keyed) ([]byte, error) {
	lease, err := k.time()
	if err != nil {
		return nil, err
	}
	s := c.server.store
	o, err := s.space(k.space)
	if err != nil {
		return nil, err
	}
	lengths := make([]byte, 0, 8*len(k.keys))
	upTo := s.leaseUpTo(min(lease, grant))
	var found uint64
	for _, key := range k.keys {
		length := s.exists(o, key, upTo)
		if length < 0 && op == opPrefix {
			break
		}
		if length >= 0 && lease > grant {
			c.hold(o.hash(key), s.leaseUpTo(lease))
		}
		found++
		lengths = le.AppendUint64(lengths, uint64(length))
	}
	if op == opPrefix {
		return le.AppendUint64(nil, found), nil
	}
	return lengths, nil
}

func (c *visitor) hold(hash uint64, upTo uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, known := c.held[hash]
	if known || len(c.held) < maxHeld {
		h.upTo = max(h.upTo, upTo)
		c.held[hash] = h
	}
}

// pin keeps a block while the client is connected.
func (c *visitor) pin(space uint32, key []byte) (bool, error) {
	v := c.server
	length, err := v.store.Exists(space, key, grant)
	if err != nil || length < 0 {
		return false, err
	}
	o, err := v.store.space(space)
	if err != nil {
		return false, err
	}
	hash, taken := o.hash(key), blob.TakenBytes(uint32(length))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[hash].bytes > 0 {
		return true, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := v.pinned + v.store.pinned.Load(); now+taken > v.store.o.CapacityBytes/2 {
		return false, fmt.Errorf("%w: %d bytes are pinned", ErrPinned, now)
	}
	v.pinned += taken
	c.held[hash] = hold{upTo: noEnd, bytes: taken}
	return true, nil
}

func (c *visitor) unpin(space uint32, key []byte) (bool, error) {
	v := c.server
	length, err := v.store.Exists(space, key, 0)
	if err != nil {
		return false, err
	}
	o, err := v.store.space(space)
	if err != nil {
		return false, err
	}
	hash := o.hash(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if h := c.held[hash]; h.bytes > 0 {
		v.pinned -= h.bytes
		delete(c.held, hash)
	}
	return length >= 0, nil
}

// suspect reads a block that a client says is not sound. If it is not, it is dropped, as by a Get.
func (c *visitor) suspect(k *keyed) error {
	s := c.server.store
	if len(k.keys) != 1 || k.amount > uint64(s.blobs.MaxLength()) {
		return fmt.Errorf("%w: %d suspects of %d bytes", ErrProtocol, len(k.keys), k.amount)
	}
	b := &Batch{
		Space: k.space, Results: make([]int8, 1),
		Items: []Item{{Key: k.keys[0], Pieces: [][]byte{make([]byte, k.amount)}}},
	}
	return s.Get(b)
}

func (c *visitor) call(b []byte) ([]byte, error) {
	asked, err := decodeCall(b)
	if err != nil {
		return nil, err
	}
	s := c.server.store
	var answer any
	switch asked.Verb {
	case "keys":
		var page Page
		page.Keys, page.Next, err = s.Keys(asked.Namespace, asked.From, min(asked.Limit, maxPage))
		answer = page
	case "drop":
		answer, err = s.DropNamespace(asked.Namespace)
	case "quota":
		err = s.SetQuota(asked.Salt, asked.Bytes)
	case "stats":
		answer = s.Stats()
	case "verify":
		answer, err = s.Verify()
	case "evict":
		err = s.Evict(asked.Bytes)
	case "locate":
		k := keyed{amount: asked.Lease}
		var lease time.Duration
		if lease, err = k.time(); err == nil {
			answer, err = s.Locate(asked.Space, asked.Keys, min(lease, grant))
		}
	case "flush":
		err = s.Flush()
	default:
		err = fmt.Errorf("%w: verb %q", ErrProtocol, asked.Verb)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// maxPage bounds a page of keys, so that the answer fits into a frame.
const maxPage = 1000

// load sends a block from its segment.
func (c *visitor) load(f frame) error {
	k, rest, err := decodeKeys(f.content)
	if err != nil || len(rest) > 0 || len(k.keys) != 1 {
		return errors.Join(err, fmt.Errorf("%w: a load of %d keys, %d bytes behind", ErrProtocol, len(k.keys), len(rest)))
	}
	s := c.server.store
	if !s.enter() {
		return c.send(f.failure(ErrClosed))
	}
	defer s.exit()
	o, err := s.space(k.space)
	if err != nil {
		return c.send(f.failure(err))
	}
	began := s.o.now()
	l, result := s.lend(o, k.keys[0], k.amount)
	defer func() { s.metrics.LoadDone(s.o.now().Sub(began)) }()
	answer := frame{op: f.op, id: f.id, content: []byte{byte(result)}}
	if result != OK {
		return c.send(answer)
	}
	defer l.segment.leave()
	err = c.send(answer)
	if err == nil {
		err = l.segment.Send(c.Conn, l.page, uint32(k.amount))
	}
	if errors.Is(err, blob.ErrDisk) {
		s.bad(l.hash, l.ref, l.page, err)
	}
	if err != nil {
		return err // what was begun cannot be taken back
	}
	s.stats.hits.Add(1)
	s.stats.readBytes.Add(int64(k.amount))
	return nil
}

// loan is a block that is sent from its segment, in which the caller is a user.
type loan struct {
	segment *segment
	hash    uint64
	ref     uint32
	page    uint32
}

// lend is load for a reader that compares the payload with its checksum itself.
func (s *Store) lend(o *owner, key []byte, total uint64) (loan, int8) {
	hash := o.hash(key)
	t := s.index.shard(hash)
	for {
		t.mu.Lock()
		e, ref := s.look(t, hash)
		if e == nil {
			t.mu.Unlock()
			return loan{}, s.miss(hash)
		}
		if uint64(e.length) != total {
			t.mu.Unlock()
			s.stats.missedLength.Add(1)
			return loan{}, Length
		}
		want := blob.Want{Page: e.page, Length: e.length, Namespace: o.namespace, Key: key}
		s.read(e)
		g := s.segmentOf(ref)
		g.users.Add(1)
		t.mu.Unlock()
		err := g.Check(want)
		if err == nil {
			return loan{g, hash, ref, want.Page}, OK
		}
		g.leave()
		if s.has(hash, ref, want.Page) {
			return loan{}, s.bad(hash, ref, want.Page, err)
		}
	}
}

// set receives a block. Where others are received that take all the room, it waits, and so does the client.
func (c *visitor) set(f frame) error {
	k, rest, err := decodeKeys(f.content)
	if err != nil || len(rest) != 8 || len(k.keys) != 1 {
		return errors.Join(err, fmt.Errorf("%w: a set of %d keys, %d bytes behind", ErrProtocol, len(k.keys), len(rest)))
	}
	s := c.server.store
	length := le.Uint64(rest)
	if length > uint64(s.blobs.MaxLength()) {
		return fmt.Errorf("%w: a set of %d bytes, want at most %d", ErrProtocol, length, s.blobs.MaxLength())
	}
	key := bytes.Clone(k.keys[0])
	c.server.room.take(int64(length))
	defer c.server.room.put(int64(length))
	if uint64(cap(c.block)) < length {
		c.block = make([]byte, length)
	}
	block := c.block[:length]
	if _, err := io.ReadFull(c, block); err != nil {
		return err
	}
	ttl, err := k.time()
	if err != nil {
		return c.send(f.failure(err))
	}
	b := &Batch{Space: k.space, TTL: ttl, Items: []Item{{Key: key, Pieces: [][]byte{block}}}, Results: make([]int8, 1)}
	if err := s.Set(b); err != nil {
		return c.send(f.failure(err))
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil { // the disk may have taken its time
		return err
	}
	return c.send(frame{op: f.op, id: f.id, content: []byte{byte(b.Results[0])}})
}

// room bounds bytes of memory.
type room struct {
	mu    sync.Mutex
	freed sync.Cond
	most  int64
	taken int64
}

func (r *room) init(most int64) { r.most, r.freed.L = most, &r.mu }

// take waits until there is room. What is more than all of it has it alone.
func (r *room) take(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.taken > 0 && r.taken+n > r.most {
		r.freed.Wait()
	}
	r.taken += n
}

func (r *room) put(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= n
	r.freed.Broadcast()
}

// renew gives a lease to what a hash refers to.
func (s *Store) renew(hash uint64, upTo uint32) {
	t := s.index.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, _ := s.look(t, hash); e != nil {
		e.lease = max(e.lease, upTo)
	}
}
