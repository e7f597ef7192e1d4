package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/engine/wire"
)

// visitor is a connection of a client.
type visitor struct {
	net.Conn
	*shared
	buffer []byte // of frames
	block  []byte // that was received last

	mu   sync.Mutex
	held map[uint64]hold // by hash
}

// hold is a lease, or a pin, of a client.
type hold struct {
	upTo  time.Time // without meaning for a pin, which has no end
	bytes int64     // of a pin
}

// renew gives what the client holds another grant, but none beyond its end.
func (c *visitor) renew() {
	now := c.options.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for hash, h := range c.held {
		left := grant
		if h.bytes == 0 {
			left = min(grant, h.upTo.Sub(now))
		}
		if left <= 0 {
			delete(c.held, hash)
			continue
		}
		c.store.Renew(hash, left)
	}
}

// serve answers requests until the connection ends, and returns why it has.
func (c *visitor) serve() error {
	if err := c.greet(); err != nil {
		return err
	}
	for {
		if err := c.SetDeadline(time.Time{}); err != nil {
			return err
		}
		f, err := wire.ReadFrame(c, &c.buffer, maxFrameBytes)
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
	id := c.store.ID()
	return wire.Greet(c, wireMagic, wireVersion, le.AppendUint64(id[:], uint64(c.store.MaxLength()))...)
}

// answer does what a request asks for. An error is of the connection.
func (c *visitor) answer(f wire.Frame) error {
	switch f.Op {
	case opLoad:
		return c.load(f)
	case opSet:
		return c.set(f)
	}
	content, err := c.result(f)
	if errors.Is(err, wire.ErrProtocol) {
		return err
	}
	if err != nil {
		return c.send(failure(f, err))
	}
	return c.send(wire.Frame{Op: f.Op, ID: f.ID, Content: content})
}

func (c *visitor) send(f wire.Frame) error {
	_, err := c.Write(f.Encode(nil))
	return err
}

// result is the content of the answer to a request without a payload.
func (c *visitor) result(f wire.Frame) ([]byte, error) {
	s := c.store
	switch f.Op {
	case opSpace:
		return c.space(f.Content)
	case opCall:
		return c.call(f.Content)
	}
	k, rest, err := decodeKeys(f.Content)
	if err != nil || len(rest) > 0 {
		return nil, errors.Join(err, fmt.Errorf("%w: %d bytes behind keys", wire.ErrProtocol, len(rest)))
	}
	switch f.Op {
	case opExists, opPrefix:
		return c.look(f.Op, &k)
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
	return nil, fmt.Errorf("%w: operation %d", wire.ErrProtocol, f.Op)
}

func each(keys [][]byte, change func([]byte) (bool, error)) ([]byte, error) {
	results := make([]byte, len(keys))
	for i, key := range keys {
		ok, err := change(key)
		if err != nil {
			return nil, err
		}
		if ok {
			results[i] = byte(transfer.OK)
		}
	}
	return results, nil
}

func (c *visitor) space(b []byte) ([]byte, error) {
	if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
		return nil, fmt.Errorf("%w: %d bytes about a space", wire.ErrProtocol, len(b))
	}
	end := 4 + le.Uint32(b)
	number, err := c.store.Space(string(b[4:end]), string(b[end:]))
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
	if op == opPrefix {
		n, err := c.store.Prefix(k.space, k.keys, min(lease, grant))
		if err == nil {
			err = c.holdAll(k.space, k.keys[:n], lease)
		}
		return le.AppendUint64(nil, uint64(n)), err
	}
	lengths := make([]int64, len(k.keys))
	if err := c.store.ExistsAll(k.space, k.keys, min(lease, grant), lengths); err != nil {
		return nil, err
	}
	var found [][]byte
	answer := make([]byte, 0, 8*len(lengths))
	for i, length := range lengths {
		if length >= 0 && lease > grant {
			found = append(found, k.keys[i])
		}
		answer = le.AppendUint64(answer, uint64(length))
	}
	return answer, c.holdAll(k.space, found, lease)
}

// holdAll notes leases that are longer than a grant, to be given anew.
func (c *visitor) holdAll(space uint32, keys [][]byte, lease time.Duration) error {
	if lease <= grant {
		return nil
	}
	upTo := c.options.Now().Add(lease)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		hash, err := c.store.Hash(space, key)
		if err != nil {
			return err
		}
		h, known := c.held[hash]
		if !known && len(c.held) >= maxHeld {
			continue
		}
		if h.upTo.Before(upTo) {
			h.upTo = upTo
		}
		c.held[hash] = h
	}
	return nil
}

// pin keeps a block while the client is connected.
func (c *visitor) pin(space uint32, key []byte) (bool, error) {
	length, err := c.store.Exists(space, key, grant)
	if err != nil || length < 0 {
		return false, err
	}
	hash, err := c.store.Hash(space, key)
	if err != nil {
		return false, err
	}
	taken := blob.TakenBytes(uint32(length))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[hash].bytes > 0 {
		return true, nil
	}
	if err := c.pins(taken); err != nil {
		return false, err
	}
	c.held[hash] = hold{bytes: taken}
	return true, nil
}

func (c *visitor) unpin(space uint32, key []byte) (bool, error) {
	length, err := c.store.Exists(space, key, 0)
	if err != nil {
		return false, err
	}
	hash, err := c.store.Hash(space, key)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.held[hash]; h.bytes > 0 {
		c.unpins(h.bytes)
		delete(c.held, hash)
	}
	return length >= 0, nil
}

// forget ends all that the client holds.
func (c *visitor) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		c.unpins(h.bytes)
	}
	clear(c.held)
}

// suspect reads a block that a client says is not sound. If it is not, it is dropped, as by a Get.
func (c *visitor) suspect(k *keyed) error {
	s := c.store
	if len(k.keys) != 1 || k.amount > uint64(s.MaxLength()) {
		return fmt.Errorf("%w: %d suspects of %d bytes", wire.ErrProtocol, len(k.keys), k.amount)
	}
	b := &transfer.Batch{
		Space: k.space, Results: make([]int8, 1),
		Items: []transfer.Item{{Key: k.keys[0], Pieces: [][]byte{make([]byte, k.amount)}}},
	}
	return s.Get(b)
}

func (c *visitor) call(b []byte) ([]byte, error) {
	asked, err := decodeCall(b)
	if err != nil {
		return nil, err
	}
	s := c.store
	var answer any
	switch asked.Verb {
	case "keys":
		var page kv.Page
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
		err = fmt.Errorf("%w: verb %q", wire.ErrProtocol, asked.Verb)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// maxPage bounds a page of keys, so that the answer fits into a frame.
const maxPage = 1000

// load sends a block from its segment.
func (c *visitor) load(f wire.Frame) error {
	k, rest, err := decodeKeys(f.Content)
	if err != nil || len(rest) > 0 || len(k.keys) != 1 {
		return errors.Join(err, fmt.Errorf("%w: a load of %d keys, %d bytes behind", wire.ErrProtocol, len(k.keys), len(rest)))
	}
	l, result, err := c.store.Lend(k.space, k.keys[0], int64(k.amount))
	if err != nil {
		return c.send(failure(f, err))
	}
	answer := wire.Frame{Op: f.Op, ID: f.ID, Content: []byte{byte(result)}}
	if result != transfer.OK {
		return c.send(answer)
	}
	defer l.Return()
	if err := c.send(answer); err != nil {
		return err
	}
	return l.Send(c.Conn)
}

// set receives a block. Where others are received that take all the room, it waits, and so does the client.
func (c *visitor) set(f wire.Frame) error {
	k, rest, err := decodeKeys(f.Content)
	if err != nil || len(rest) != 8 || len(k.keys) != 1 {
		return errors.Join(err, fmt.Errorf("%w: a set of %d keys, %d bytes behind", wire.ErrProtocol, len(k.keys), len(rest)))
	}
	s := c.store
	length := le.Uint64(rest)
	if length > uint64(s.MaxLength()) {
		return fmt.Errorf("%w: a set of %d bytes, want at most %d", wire.ErrProtocol, length, s.MaxLength())
	}
	key := bytes.Clone(k.keys[0])
	c.room.take(int64(length))
	defer c.room.put(int64(length))
	if uint64(cap(c.block)) < length {
		c.block = make([]byte, length)
	}
	block := c.block[:length]
	if _, err := io.ReadFull(c, block); err != nil {
		return err
	}
	ttl, err := k.time()
	if err != nil {
		return c.send(failure(f, err))
	}
	b := &transfer.Batch{Space: k.space, TTL: ttl, Items: []transfer.Item{{Key: key, Pieces: [][]byte{block}}}, Results: make([]int8, 1)}
	if err := s.Set(b); err != nil {
		return c.send(failure(f, err))
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil { // the disk may have taken its time
		return err
	}
	return c.send(wire.Frame{Op: f.Op, ID: f.ID, Content: []byte{byte(b.Results[0])}})
}
