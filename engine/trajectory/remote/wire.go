package remote

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

// The protocol between a server and its clients, version 1. Numbers are little-endian.
//
// A client begins with a greeting, and the server answers with its own. Then each request, a frame, has one answer, in order, of one
// frame or several:
//
//	greeting   magic 89 "PTRJ" 0d 0a 1a, version 4, zero 4
//	frame      see [wire.Frame]
//	call       length of JSON 4, JSON, bytes; the answer is the same, in as many frames as it needs
//	sample     draws 8, oldest version 8; answered by how many were drawn 8, the parts of the sample with room for all draws, and
//	           the position of the sampler as JSON
//
// The status of a frame of an answer says whether it is the last one, whether more follow, or that the request has failed: its
// content is the [failure] then, in place of all that came before.
//
// Rows go as Arrow data: a request has the length of a schema message 4, that message, and one of a batch, an answer is an IPC
// stream. Offsets, numbers and priorities are arrays. Whoever breaks the protocol is disconnected.
const (
	wireMagic     = "\x89PTRJ\r\n\x1a"
	wireVersion   = 1
	maxFrameBytes = 1 << 30
	pieceBytes    = 256 << 10
)

// Operations.
const (
	opCall   = 1
	opSample = 2
)

// Statuses.
const (
	statusLast   = 0
	statusMore   = 1
	statusFailed = 2
)

var le = binary.LittleEndian

// failure is why a request has failed.
type failure struct {
	Code    int32  `json:"code"` // of the C interface
	Detail  int64  `json:"detail"`
	Message string `json:"message"`
}

// asked is what a call asks for; which of the members count is a matter of the verb.
type asked struct {
	Verb    string              `json:"verb"`
	Episode trajectory.Identity `json:"episode"`
	Number  int64               `json:"number"`
	Step    int64               `json:"step"`
	Final   bool                `json:"final"`
	Ending  json.RawMessage     `json:"ending"`
	IdleMs  int64               `json:"idle_ms"`
	ID      string              `json:"id"`
	IDs     []string            `json:"ids"`
	Query   json.RawMessage     `json:"query"`
	Task    string              `json:"task"`
	Name    string              `json:"name"`
	Count   int64               `json:"count"`
	Rows    int64               `json:"rows"`
	Heap    int64               `json:"heap"`
	Law     *trajectory.Law     `json:"law"`

	bytes []byte // behind the JSON
}

func parseCall(content []byte) (a asked, err error) {
	if len(content) < 4 || uint64(le.Uint32(content)) > uint64(len(content)-4) {
		return a, fmt.Errorf("%w: a call of %d bytes", wire.ErrProtocol, len(content))
	}
	end := 4 + int(le.Uint32(content))
	if err := json.Unmarshal(content[4:end], &a); err != nil {
		return a, fmt.Errorf("%w: a call: %w", wire.ErrProtocol, err)
	}
	a.bytes = content[end:]
	return a, nil
}

// words are the bytes of a call as numbers of 8 bytes, of which it has so many for each of its count.
func (a *asked) words(each int64) ([]uint64, error) {
	if a.Count < 0 || a.Count > maxFrameBytes/8 || int64(len(a.bytes)) != 8*each*a.Count {
		return nil, fmt.Errorf("%w: %s: %d bytes for %d items", wire.ErrProtocol, a.Verb, len(a.bytes), a.Count)
	}
	out := make([]uint64, each*a.Count)
	for i := range out {
		out[i] = le.Uint64(a.bytes[8*i:])
	}
	return out, nil
}
