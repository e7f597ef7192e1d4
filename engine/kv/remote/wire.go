package remote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/persisting/persisting/engine/kv"
)

// The protocol between a server and its clients, version 1. Numbers are little-endian.
//
// A client begins with a greeting, and the server answers with its own. Then each request has one answer, in order:
//
//	greeting   magic 89 "PKVS" 0d 0a 1a, version 4, zero 4; that of the server goes on with the identity of the store 16 and the
//	           length of the longest block 8
//	frame      length of what follows 4, operation 1, status 1, zero 2, number of the request 8, content
//
// The content of most requests is about keys, and that of its answer has one item for each:
//
//	keys       number of the space 4, amount 8, count 4, then for each its length 2 and its bytes
//	space      length of the namespace 4, namespace, salt; answered by the number 4 that stands for them on this server
//	exists     amount is the lease in milliseconds; answered by lengths 8, -1 where there is none
//	prefix     the same; answered by how many there are 8
//	load       of one key, amount is the length wanted; answered by a result 1 and, if that is 1, the header page of the block and
//	           its payload behind the frame, as they stand in the segment
//	set        of one key, amount is the time to live in milliseconds; the length 8 follows the keys, and the payload the frame;
//	           answered by a result 1
//	delete     answered by results 1; so are touch (amount is the time to live), pin, unpin
//	suspect    of one key whose payload came without its checksum, amount is its length: the server looks for itself
//	call       JSON, answered by JSON: what is done seldom
//
// A status that is not 0 says what went wrong, and the content is its text. Whoever breaks the protocol is disconnected.
const (
	wireMagic     = "\x89PKVS\r\n\x1a"
	wireVersion   = 1
	helloBytes    = 16
	welcomeBytes  = 40
	wireHead      = 16 // of a frame
	maxFrameBytes = 16 << 20
)

var le = binary.LittleEndian

// Operations.
const (
	opSpace = iota + 1
	opExists
	opPrefix
	opLoad
	opSet
	opDelete
	opTouch
	opPin
	opUnpin
	opSuspect
	opCall
)

// Statuses.
var wireErrors = []error{nil, kv.ErrInvalid, kv.ErrPinned, kv.ErrClosed, kv.ErrReadOnly, errRemote}

// ErrProtocol is returned where the other side does not speak this protocol.
var ErrProtocol = errors.New("kv: not the protocol")

// errRemote is what the server could not do, for a reason of its own.
var errRemote = errors.New("kv: the server failed")

// frame is a request or an answer, without what follows it.
type frame struct {
	op, status uint8
	id         uint64
	content    []byte
}

// encode adds the frame to b.
func (f *frame) encode(b []byte) []byte {
	b = le.AppendUint32(b, uint32(wireHead-4+len(f.content)))
	b = append(b, f.op, f.status, 0, 0)
	b = le.AppendUint64(b, f.id)
	return append(b, f.content...)
}

// readFrame reads one. The content is in buffer, which grows.
func readFrame(r io.Reader, buffer *[]byte) (frame, error) {
	var head [wireHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := int64(le.Uint32(head[:])) - (wireHead - 4)
	if n < 0 || n > maxFrameBytes {
		return frame{}, fmt.Errorf("%w: a frame has %d bytes, want 0 to %d", ErrProtocol, n, maxFrameBytes)
	}
	if int64(cap(*buffer)) < n {
		*buffer = make([]byte, n)
	}
	content := (*buffer)[:n]
	if _, err := io.ReadFull(r, content); err != nil {
		return frame{}, err
	}
	return frame{op: head[4], status: head[5], id: le.Uint64(head[8:]), content: content}, nil
}

// failure is the answer to a request that failed.
func (f *frame) failure(err error) frame {
	status := len(wireErrors) - 1
	for i, known := range wireErrors[1:] {
		if errors.Is(err, known) {
			status = i + 1
			break
		}
	}
	return frame{op: f.op, status: uint8(status), id: f.id, content: []byte(err.Error())}
}

// err is what an answer says went wrong.
func (f *frame) err() error {
	switch {
	case f.status == 0:
		return nil
	case int(f.status) < len(wireErrors):
		return fmt.Errorf("%w (server: %s)", wireErrors[f.status], f.content)
	}
	return fmt.Errorf("%w (server: %s)", errRemote, f.content)
}

// keyed is the content of a request about keys.
type keyed struct {
	space  uint32
	amount uint64
	keys   [][]byte
}

func (k *keyed) encode() []byte {
	b := le.AppendUint32(nil, k.space)
	b = le.AppendUint64(b, k.amount)
	b = le.AppendUint32(b, uint32(len(k.keys)))
	for _, key := range k.keys {
		b = le.AppendUint16(b, uint16(len(key)))
		b = append(b, key...)
	}
	return b
}

// decodeKeys reads such a content and returns what follows it. The keys are in b.
func decodeKeys(b []byte) (k keyed, rest []byte, err error) {
	if len(b) < 16 {
		return k, nil, fmt.Errorf("%w: %d bytes about keys", ErrProtocol, len(b))
	}
	k.space, k.amount = le.Uint32(b), le.Uint64(b[4:])
	count := int64(le.Uint32(b[12:]))
	b = b[16:]
	if count > maxFrameBytes/8 || count > int64(len(b)/2) { // an answer has 8 bytes for each
		return k, nil, fmt.Errorf("%w: %d keys in %d bytes", ErrProtocol, count, len(b))
	}
	k.keys = make([][]byte, count)
	for i := range k.keys {
		if len(b) < 2 || len(b)-2 < int(le.Uint16(b)) {
			return k, nil, fmt.Errorf("%w: key %d is cut short", ErrProtocol, i)
		}
		end := 2 + int(le.Uint16(b))
		k.keys[i], b = b[2:end:end], b[end:]
	}
	return k, b, nil
}

// time is the amount as milliseconds.
func (k *keyed) time() (time.Duration, error) {
	if k.amount > uint64(maxTime/time.Millisecond) {
		return 0, fmt.Errorf("%w: %d milliseconds, want at most %d", kv.ErrInvalid, k.amount, maxTime/time.Millisecond)
	}
	return time.Duration(k.amount) * time.Millisecond, nil
}

// maxTime is more than any lease or time to live.
const maxTime = 100 * 365 * 24 * time.Hour

// call is the content of a request that is made seldom.
type call struct {
	Verb      string    `json:"verb"` // keys, answered by a Page, drop, quota, stats, verify, evict, flush, locate
	Namespace string    `json:"namespace,omitempty"`
	Salt      string    `json:"salt,omitempty"`
	From      kv.Cursor `json:"from"`
	Space     uint32    `json:"space,omitempty"`
	Keys      [][]byte  `json:"keys,omitempty"`
	Lease     uint64    `json:"lease_ms,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`
	Limit     int       `json:"limit,omitempty"`
}

func decodeCall(b []byte) (c call, err error) {
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%w: a call: %w", ErrProtocol, err)
	}
	return c, nil
}
