package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

// patience is how long a client may take to greet, to send what it has begun, or to take a piece of what it has asked for.
const patience = 30 * time.Second

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
	welcome := append([]byte(wireMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	le.PutUint32(welcome[8:], wireVersion)
	if _, err := c.Write(welcome); err != nil {
		return err
	}
	if string(hello[:8]) != wireMagic || le.Uint32(hello[8:]) != wireVersion {
		return fmt.Errorf("%w: a client greets with % x", wire.ErrProtocol, hello)
	}
	return nil
}

// answer does what a request asks for. An error is of the connection.
func (c *visitor) answer(f wire.Frame) error {
	out := &answer{to: c, frame: wire.Frame{Op: f.Op, ID: f.ID}}
	err := c.run(f, out)
	if errors.Is(err, wire.ErrProtocol) || out.lost != nil {
		return errors.Join(err, out.lost)
	}
	if err != nil {
		return c.refuse(out.frame, err)
	}
	return out.end()
}

// run does what a request asks for, and keeps what goes wrong in it, a panic too, from the store and its other clients.
func (c *visitor) run(f wire.Frame, out *answer) (err error) {
	defer engine.Contain(&err)
	switch f.Op {
	case opCall:
		a, err := parseCall(f.Content)
		if err != nil {
			return err
		}
		do, known := verbs[a.Verb]
		if !known {
			return fmt.Errorf("%w: verb %q", wire.ErrProtocol, a.Verb)
		}
		return do(c, &a, out)
	case opSample:
		return c.sample(f, out)
	}
	return fmt.Errorf("%w: operation %d", wire.ErrProtocol, f.Op)
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
