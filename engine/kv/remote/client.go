package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/engine/wire"
)

// ConnectOptions are those of a client.
type ConnectOptions struct {
	// Required makes Connect fail where nobody serves at the address. Otherwise all is a miss until somebody does.
	Required bool `json:"required"`
	// Workers is the number of blocks that are read at the same time; half as many are written. Each has a connection. The
	// default, 0, is 4 for each processor, at most 16.
	Workers int `json:"workers"`
	// MaxStoreBacklogBytes bounds what submitted sets hold; more are refused. The default is 1 GiB.
	MaxStoreBacklogBytes int64 `json:"max_store_backlog"`
	// LoadDeadline is the time after which a load that has not begun is a miss, and an answer that has not come is none, in
	// seconds. The default is 5.
	LoadDeadline float64 `json:"load_deadline"`
}

// Client is a store that another process serves. While there is no connection, keys are not there and sets fail; a connection is
// made anew in the background.
type Client struct {
	mover    transfer.Mover
	address  string
	network  string
	place    string
	deadline time.Duration
	backlog  int64
	closed   atomic.Bool
	stop     chan struct{}
	turns    [stripes]turns

	mu      sync.Mutex
	spaces  [][2]string // namespace and salt, by number
	session *session    // nil while there is none
	reason  error       // why there is none
}

// Connect makes a client of the server at an address: "unix:PATH" or "tcp:HOST:PORT".
func Connect(address string, o ConnectOptions) (*Client, error) {
	c := &Client{address: address, stop: make(chan struct{}), backlog: o.MaxStoreBacklogBytes}
	var known bool
	if c.network, c.place, known = strings.Cut(address, ":"); !known || c.place == "" || c.network != "unix" && c.network != "tcp" {
		return nil, fmt.Errorf("%w: address is %q, want unix:PATH or tcp:HOST:PORT", kv.ErrInvalid, address)
	}
	if o.Workers < 0 || o.Workers > 256 || o.MaxStoreBacklogBytes < 0 || o.LoadDeadline < 0 || o.LoadDeadline > 1e6 {
		return nil, fmt.Errorf("%w: workers is %d, max_store_backlog %d, load_deadline %v, want 0 to 256, at least 0, 0 to 1e6",
			kv.ErrInvalid, o.Workers, o.MaxStoreBacklogBytes, o.LoadDeadline)
	}
	if o.Workers == 0 {
		o.Workers = min(16, 4*runtime.GOMAXPROCS(0))
	}
	if c.backlog == 0 {
		c.backlog = 1 << 30
	}
	if o.LoadDeadline == 0 {
		o.LoadDeadline = 5
	}
	c.deadline = time.Duration(o.LoadDeadline * float64(time.Second))
	first, err := c.dial(o.Workers)
	if err != nil && o.Required {
		return nil, err
	}
	c.take(first, err)
	c.mover.Start(c.runLoad, c.runStore, o.Workers)
	c.mover.Go(func() { c.keep(first, o.Workers) })
	return c, nil
}

// Space is Store.Space.
func (c *Client) Space(namespace, salt string) (uint32, error) {
	if n := len(namespace) + len(salt); n > blob.MaxNamesBytes/2 {
		return 0, fmt.Errorf("%w: namespace and salt have %d bytes, want at most %d", kv.ErrInvalid, n, blob.MaxNamesBytes/2)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, known := range c.spaces {
		if known == [2]string{namespace, salt} {
			return uint32(i), nil
		}
	}
	c.spaces = append(c.spaces, [2]string{namespace, salt})
	return uint32(len(c.spaces) - 1), nil
}

// maxAsked bounds the keys of one request.
const maxAsked = 1 << 11

// aboutKeys asks about keys, with as many requests as they need, until then returns false.
func (c *Client) aboutKeys(op uint8, space uint32, keys [][]byte, amount uint64, then func(first int, content []byte) (bool, error)) error {
	s, err := c.live()
	if err != nil {
		return err
	}
	n, err := s.number(c, space)
	if err != nil {
		return err
	}
	on := true
	for first := 0; first < len(keys) && on && err == nil; first += maxAsked {
		part := keys[first:min(first+maxAsked, len(keys))]
		for _, key := range part {
			if len(key) > blob.MaxNamesBytes {
				return fmt.Errorf("%w: a key has %d bytes, want at most %d", kv.ErrInvalid, len(key), blob.MaxNamesBytes)
			}
		}
		content := (&keyed{n, amount, part}).encode()
		err = s.ask(s.control, op, content, c.deadline, nil, func(_ io.Reader, b []byte) (err error) {
			on, err = then(first, b)
			return err
		})
	}
	return err
}

// missing turns the lack of a connection into the answer that there is nothing.
func missing(err error) error {
	if errors.Is(err, ErrDisconnected) {
		return nil
	}
	return err
}

// Exists is Store.Exists.
func (c *Client) Exists(space uint32, key []byte, lease time.Duration) (int64, error) {
	lengths := []int64{-1}
	err := c.ExistsAll(space, [][]byte{key}, lease, lengths)
	return lengths[0], err
}

// ExistsAll is Store.ExistsAll.
func (c *Client) ExistsAll(space uint32, keys [][]byte, lease time.Duration, lengths []int64) error {
	for i := range lengths {
		lengths[i] = -1
	}
	return missing(c.aboutKeys(opExists, space, keys, milliseconds(lease), func(first int, b []byte) (bool, error) {
		if len(b) != 8*min(maxAsked, len(keys)-first) {
			return false, fmt.Errorf("%w: %d bytes of lengths", wire.ErrProtocol, len(b))
		}
		for i := range len(b) / 8 {
			lengths[first+i] = int64(le.Uint64(b[8*i:]))
		}
		return true, nil
	}))
}

// Prefix is Store.Prefix.
func (c *Client) Prefix(space uint32, keys [][]byte, lease time.Duration) (n int, err error) {
	err = c.aboutKeys(opPrefix, space, keys, milliseconds(lease), func(first int, b []byte) (bool, error) {
		asked := min(maxAsked, len(keys)-first)
		if len(b) != 8 || le.Uint64(b) > uint64(asked) {
			return false, fmt.Errorf("%w: prefix", wire.ErrProtocol)
		}
		n += int(le.Uint64(b))
		return le.Uint64(b) == uint64(asked), nil
	})
	return n, missing(err)
}

func milliseconds(d time.Duration) uint64 { return uint64(min(max(d, 0), maxTime) / time.Millisecond) }

// change asks for something of one key.
func (c *Client) change(op uint8, space uint32, key []byte, amount uint64) (ok bool, err error) {
	err = c.aboutKeys(op, space, [][]byte{key}, amount, func(_ int, b []byte) (bool, error) {
		if len(b) != 1 {
			return false, fmt.Errorf("%w: %d results of a key", wire.ErrProtocol, len(b))
		}
		ok = int8(b[0]) > 0
		return true, nil
	})
	return ok, missing(err)
}

// Delete is Store.Delete. It waits for the sets of the key that were submitted before.
func (c *Client) Delete(space uint32, key []byte) (bool, error) {
	hash := turnOf(space, key)
	t := &c.turns[hash%stripes]
	t.wait(hash, t.begin(hash))
	defer t.end(hash)
	return c.change(opDelete, space, key, 0)
}

// Touch is Store.Touch.
func (c *Client) Touch(space uint32, key []byte, ttl time.Duration) (bool, error) {
	return c.change(opTouch, space, key, milliseconds(ttl))
}

// Pin keeps a block until Unpin, or until the connection ends. It fails with [ErrPinned].
func (c *Client) Pin(space uint32, key []byte) (bool, error) { return c.change(opPin, space, key, 0) }

// Unpin ends what Pin began.
func (c *Client) Unpin(space uint32, key []byte) (bool, error) {
	return c.change(opUnpin, space, key, 0)
}

// call asks for what is done seldom.
func (c *Client) call(asked call, answer any) error {
	s, err := c.live()
	if err != nil {
		return err
	}
	content, err := json.Marshal(asked)
	if err != nil {
		return fmt.Errorf("kv: %s: %w", asked.Verb, err)
	}
	var l *link
	select { // the one for lookups is not kept busy
	case l = <-s.data:
		defer func() { s.data <- l }()
	case <-s.broken:
		return s.reason
	}
	return s.ask(l, opCall, content, bulkTime, nil, func(_ io.Reader, b []byte) error {
		if answer == nil {
			return nil
		}
		if err := json.Unmarshal(b, answer); err != nil {
			return fmt.Errorf("%w: answer to %s: %w", wire.ErrProtocol, asked.Verb, err)
		}
		return nil
	})
}

// Keys is Store.Keys, of at most 1000 keys.
func (c *Client) Keys(namespace string, from kv.Cursor, limit int) ([]kv.Key, *kv.Cursor, error) {
	var page kv.Page
	err := c.call(call{Verb: "keys", Namespace: namespace, From: from, Limit: limit}, &page)
	return page.Keys, page.Next, err
}

// DropNamespace is Store.DropNamespace.
func (c *Client) DropNamespace(namespace string) (dropped int64, err error) {
	err = c.call(call{Verb: "drop", Namespace: namespace}, &dropped)
	return dropped, err
}

// SetQuota is Store.SetQuota.
func (c *Client) SetQuota(salt string, bytes int64) error {
	return c.call(call{Verb: "quota", Salt: salt, Bytes: bytes}, nil)
}

// Verify is Store.Verify.
func (c *Client) Verify() (found kv.Verified, err error) {
	err = c.call(call{Verb: "verify"}, &found)
	return found, err
}

// Evict is Store.Evict.
func (c *Client) Evict(bytes int64) error { return c.call(call{Verb: "evict", Bytes: bytes}, nil) }

// Flush is Store.Flush.
func (c *Client) Flush() error { return c.call(call{Verb: "flush"}, nil) }

// Report is what the server says of its store; without one, why there is none.
func (c *Client) Report() (kv.Stats, error) {
	st := kv.Stats{Misses: map[string]int64{}, NotStored: map[string]int64{}, Namespaces: map[string]kv.Usage{}, Salts: map[string]kv.Usage{}}
	err := c.call(call{Verb: "stats"}, &st)
	if errors.Is(err, ErrDisconnected) {
		st.Disconnected = err.Error()
		err = nil
	}
	return st, err
}

// Close ends the client: what is on its way fails. Closing twice is an [ErrClosed].
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return kv.ErrClosed
	}
	close(c.stop)
	c.mover.Stop()
	return nil
}

// prepare is that of a store.
func (c *Client) prepare(b *transfer.Batch) (*transfer.Work, error) {
	if c.closed.Load() {
		return nil, kv.ErrClosed
	}
	if len(b.Results) != len(b.Items) {
		return nil, fmt.Errorf("%w: %d results for %d items", kv.ErrInvalid, len(b.Results), len(b.Items))
	}
	for i := range b.Items {
		if n := len(b.Items[i].Key); n > blob.MaxNamesBytes {
			return nil, fmt.Errorf("%w: key %d has %d bytes, want at most %d", kv.ErrInvalid, i, n, blob.MaxNamesBytes)
		}
	}
	return transfer.NewWork(b, time.Now()), nil
}

func (c *Client) prepareLoads(b *transfer.Batch) (*transfer.Work, error) {
	w, err := c.prepare(b)
	if err != nil {
		return nil, err
	}
	w.All()
	return w, nil
}

func (c *Client) prepareStores(b *transfer.Batch, most int64) (*transfer.Work, error) {
	w, err := c.prepare(b)
	if err != nil {
		return nil, err
	}
	w.Numbers = make([]uint64, len(b.Items))
	for i := range b.Items {
		if !c.mover.Stores.Hold(w.Lengths[i], most) {
			b.Results[i] = transfer.Shed
			continue
		}
		hash := turnOf(b.Space, b.Items[i].Key)
		w.Numbers[i] = c.turns[hash%stripes].begin(hash)
		w.Todo = append(w.Todo, i)
	}
	return w, nil
}

// Get is Store.Get.
func (c *Client) Get(b *transfer.Batch) error {
	w, err := c.prepareLoads(b)
	if err == nil {
		c.mover.Wait(c.mover.Loads, w)
	}
	return err
}

// Set is Store.Set.
func (c *Client) Set(b *transfer.Batch) error {
	w, err := c.prepareStores(b, math.MaxInt64)
	if err == nil {
		c.mover.Wait(c.mover.Stores, w)
	}
	return err
}

// SubmitGet is Store.SubmitGet.
func (c *Client) SubmitGet(b *transfer.Batch) (uint64, error) {
	w, err := c.prepareLoads(b)
	if err != nil {
		return 0, err
	}
	return c.mover.Submit(c.mover.Loads, w), nil
}

// SubmitSet is Store.SubmitSet.
func (c *Client) SubmitSet(b *transfer.Batch) (uint64, error) {
	w, err := c.prepareStores(b, c.backlog)
	if err != nil {
		return 0, err
	}
	return c.mover.Submit(c.mover.Stores, w), nil
}

// SetWaker is Store.SetWaker.
func (c *Client) SetWaker(wake func()) { c.mover.SetWaker(wake) }

// Drain is Store.Drain.
func (c *Client) Drain(tickets []uint64) int { return c.mover.Drain(tickets) }

// runLoad asks for one block.
func (c *Client) runLoad(w *transfer.Work, i int) {
	result := transfer.Shed
	if time.Since(w.Begun) <= c.deadline && !c.closed.Load() {
		result = c.transfer(w, i, c.load)
	}
	w.End(i, result)
}

// runStore sends one block, when those of the same key that were submitted before have been.
func (c *Client) runStore(w *transfer.Work, i int) {
	hash := turnOf(w.Space, w.Items[i].Key)
	t := &c.turns[hash%stripes]
	t.wait(hash, w.Numbers[i])
	result := transfer.Shed
	if !c.closed.Load() {
		result = c.transfer(w, i, c.store)
	}
	t.end(hash)
	c.mover.Stores.Release(w.Lengths[i])
	w.End(i, result)
}

// transfer runs an item on a connection of its own; without any it has failed.
func (c *Client) transfer(w *transfer.Work, i int, run func(*session, *link, uint32, *transfer.Work, int) (int8, error)) int8 {
	s, err := c.live()
	if err != nil {
		return transfer.Failed
	}
	n, err := s.number(c, w.Space)
	if err != nil {
		return transfer.Failed
	}
	select {
	case l := <-s.data:
		result, err := run(s, l, n, w, i)
		s.data <- l
		if err != nil {
			return transfer.Failed
		}
		return result
	case <-s.broken:
		return transfer.Failed
	}
}

func (c *Client) load(s *session, l *link, space uint32, w *transfer.Work, i int) (result int8, err error) {
	item := w.Items[i]
	if w.Lengths[i] > s.maxLength {
		return transfer.Length, nil // there is none of that length
	}
	asked := (&keyed{space, uint64(w.Lengths[i]), [][]byte{item.Key}}).encode()
	err = s.ask(l, opLoad, asked, c.deadline, nil, func(r io.Reader, b []byte) error {
		if len(b) != 1 {
			return fmt.Errorf("%w: %d results of a load", wire.ErrProtocol, len(b))
		}
		if result = int8(b[0]); result != transfer.OK {
			return nil
		}
		c.mu.Lock()
		namespace := c.spaces[w.Space][0]
		c.mu.Unlock()
		return blob.Receive(r, s.id, blob.Want{Length: uint32(w.Lengths[i]), Namespace: namespace, Key: item.Key}, item.Pieces)
	})
	if errors.Is(err, blob.ErrBlock) {
		nothing := func(io.Reader, []byte) error { return nil }
		return transfer.Damaged, s.ask(l, opSuspect, asked, c.deadline, nil, nothing)
	}
	return result, err
}

func (c *Client) store(s *session, l *link, space uint32, w *transfer.Work, i int) (result int8, err error) {
	if w.Lengths[i] > s.maxLength {
		return transfer.TooLong, nil
	}
	content := (&keyed{space, milliseconds(w.TTL), [][]byte{w.Items[i].Key}}).encode()
	content = le.AppendUint64(content, uint64(w.Lengths[i]))
	err = s.ask(l, opSet, content, c.deadline+patience, w.Items[i].Pieces, func(_ io.Reader, b []byte) error {
		if len(b) != 1 {
			return fmt.Errorf("%w: %d results of a set", wire.ErrProtocol, len(b))
		}
		result = int8(b[0])
		return nil
	})
	return result, err
}

// Locate is Store.Locate, with the paths that the server has.
func (c *Client) Locate(space uint32, keys [][]byte, lease time.Duration) ([]*kv.Location, error) {
	all := make([]*kv.Location, 0, len(keys))
	s, err := c.live()
	if err != nil {
		return make([]*kv.Location, len(keys)), missing(err)
	}
	n, err := s.number(c, space)
	if err != nil {
		return make([]*kv.Location, len(keys)), missing(err)
	}
	for first := 0; first < len(keys); first += maxAsked {
		var found []*kv.Location
		asked := call{Verb: "locate", Space: n, Keys: keys[first:min(first+maxAsked, len(keys))], Lease: milliseconds(lease)}
		if err := c.call(asked, &found); err != nil {
			return make([]*kv.Location, len(keys)), missing(err)
		}
		if len(found) != len(asked.Keys) {
			return nil, fmt.Errorf("%w: %d places of %d keys", wire.ErrProtocol, len(found), len(asked.Keys))
		}
		all = append(all, found...)
	}
	return all, nil
}

// take makes a session the one that is used; nil with the reason why there is none.
func (c *Client) take(s *session, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.reason = s, reason
}

// keep connects anew whenever the connection is lost.
func (c *Client) keep(s *session, workers int) {
	wait := firstRetry
	for {
		if s != nil {
			wait = firstRetry
			select {
			case <-s.broken:
				c.take(nil, s.reason)
			case <-c.stop:
				s.fail(kv.ErrClosed)
				return
			}
		}
		select {
		case <-time.After(wait):
		case <-c.stop:
			return
		}
		wait = min(2*wait, lastRetry)
		var err error
		s, err = c.dial(workers)
		c.take(s, err)
	}
}

// dial makes all connections of a session.
func (c *Client) dial(workers int) (*session, error) {
	count := workers + (workers+1)/2
	s := &session{data: make(chan *link, count), broken: make(chan struct{}), spaces: map[uint32]uint32{}}
	for i := range 1 + count {
		l, err := c.connect(s)
		if err != nil {
			err = fmt.Errorf("%w at %s: %w", ErrDisconnected, c.address, err)
			s.fail(err)
			return nil, err
		}
		s.links = append(s.links, l)
		if i == 0 {
			s.control = l
		} else {
			s.data <- l
		}
	}
	return s, nil
}

func (c *Client) connect(s *session) (*link, error) {
	conn, err := net.DialTimeout(c.network, c.place, dialTime)
	if err != nil {
		return nil, err
	}
	if err := s.greet(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &link{conn: conn}, nil
}

// live returns the session there is.
func (c *Client) live() (*session, error) {
	if c.closed.Load() {
		return nil, kv.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil, c.reason
	}
	return c.session, nil
}

// number is what a space is on the server.
func (s *session) number(c *Client, space uint32) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.spaces[space]; ok {
		return n, nil
	}
	c.mu.Lock()
	if int64(space) >= int64(len(c.spaces)) {
		c.mu.Unlock()
		return 0, fmt.Errorf("%w: there is no space %d", kv.ErrInvalid, space)
	}
	names := c.spaces[space]
	c.mu.Unlock()
	content := le.AppendUint32(nil, uint32(len(names[0])))
	content = append(append(content, names[0]...), names[1]...)
	var n uint32
	err := s.ask(s.control, opSpace, content, c.deadline, nil, func(_ io.Reader, b []byte) error {
		if len(b) != 4 {
			return fmt.Errorf("%w: %d bytes of a space", wire.ErrProtocol, len(b))
		}
		n = le.Uint32(b)
		return nil
	})
	if err == nil {
		s.spaces[space] = n
	}
	return n, err
}
