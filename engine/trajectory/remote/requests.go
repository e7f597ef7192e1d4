package remote

import (
	"errors"
	"fmt"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/wire"
)

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
	return wire.Greet(c, wireMagic, wireVersion)
}

// answer does what a request asks for. An error is of the connection.
func (c *visitor) answer(f wire.Frame) error {
	out := &answer{send: c.send, frame: wire.Frame{Op: f.Op, ID: f.ID}}
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
