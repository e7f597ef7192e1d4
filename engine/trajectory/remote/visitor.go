package remote

import (
	"encoding/json"
	"log/slog"
	"net"
	"time"

	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

// patience is how long a client may take to greet, to send what it has begun, or to take a piece of what it has asked for.
const patience = 30 * time.Second

// Numbers says what number an error has in the C interface, and what number it comes with.
type Numbers func(err error) (code int32, detail int64)

// visitor is a connection of a client, with what the client has made there.
type visitor struct {
	net.Conn
	store   *trajectory.Store
	numbers Numbers
	logger  *slog.Logger
	buffer  []byte // of requests

	sheet   *trajectory.Sheet
	sampler *trajectory.Sampler
	parts   []byte // of samples; memory outside of Go
}

// refuse answers that a request has failed.
func (c *visitor) refuse(f wire.Frame, err error) error {
	code, detail := c.numbers(err)
	content, failed := json.Marshal(failure{code, detail, err.Error()})
	if failed != nil {
		return failed
	}
	f.Status, f.Content = statusFailed, content
	return c.send(f.Encode(nil))
}

// send writes pieces, which the client is to take in time.
func (c *visitor) send(pieces ...[]byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	all := net.Buffers(pieces)
	_, err := all.WriteTo(c.Conn)
	return err
}

// leave ends what the client has made: steps in its sheet are stored, as it is gone or has them as well.
func (c *visitor) leave() {
	memory.Allocator.Free(c.parts)
	if c.sheet == nil {
		return
	}
	if err := c.sheet.Close(); err != nil {
		c.logger.Warn("steps of a client that is gone stay in their sheet for the next opening", "error", err)
	}
}
