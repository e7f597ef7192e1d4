package remote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/wire"
)

// The protocol between a server and its clients, version 1. Numbers are little-endian.
//
// A client begins with a greeting, and the server answers with its own. Then each request has one answer, in order:
//
//	greeting   magic 89 "PKVS" 0d 0a 1a, version 4, zero 4; that of the server goes on with the identity of the store 16 and the
//	           length of the longest block 8
//	frame      see [wire.Frame]
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
	welcomeBytes  = 40
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

// errRemote is what the server could not do, for a reason of its own.
var errRemote = errors.New("kv: the server failed")

// failure is the answer to a request that failed.
func failure(f wire.Frame, err error) wire.Frame {
	status := len(wireErrors) - 1
	for i, known := range wireErrors[1:] {
		if errors.Is(err, known) {
			status = i + 1
			break
		}
	}
	return wire.Frame{Op: f.Op, Status: uint8(status), ID: f.ID, Content: []byte(err.Error())}
}

// refusal is what an answer says went wrong.
func refusal(f wire.Frame) error {
	switch {
	case f.Status == 0:
		return nil
	case int(f.Status) < len(wireErrors):
		return fmt.Errorf("%w (server: %s)", wireErrors[f.Status], f.Content)
	}
	return fmt.Errorf("%w (server: %s)", errRemote, f.Content)
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
		return k, nil, fmt.Errorf("%w: %d bytes about keys", wire.ErrProtocol, len(b))
	}
	k.space, k.amount = le.Uint32(b), le.Uint64(b[4:])
	count := int64(le.Uint32(b[12:]))
	b = b[16:]
	if count > maxFrameBytes/8 || count > int64(len(b)/2) { // an answer has 8 bytes for each
		return k, nil, fmt.Errorf("%w: %d keys in %d bytes", wire.ErrProtocol, count, len(b))
	}
	k.keys = make([][]byte, count)
	for i := range k.keys {
		if len(b) < 2 || len(b)-2 < int(le.Uint16(b)) {
			return k, nil, fmt.Errorf("%w: key %d is cut short", wire.ErrProtocol, i)
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
		return c, fmt.Errorf("%w: a call: %w", wire.ErrProtocol, err)
	}
	return c, nil
}
