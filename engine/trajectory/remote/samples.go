package remote

import (
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

const (
	sampleBytes = 16 // of the content of a request for one
	alignment   = 64
)

// makeSampler makes the sampler of the connection, and says where it is.
func makeSampler(c *visitor, a *asked, out *answer) error {
	if c.sampler != nil || a.Law == nil {
		return fmt.Errorf("%w: a second sampler, or one without a law", wire.ErrProtocol)
	}
	made, err := c.store.Sampler(*a.Law)
	if err != nil {
		return err
	}
	position, err := made.Position()
	if err != nil {
		return err
	}
	c.sampler = made
	return out.value(map[string]trajectory.Position{"position": position})
}

// sampled is the verb of what is asked of the sampler of the connection.
func sampled(do func(*trajectory.Sampler, *asked) error) func(*visitor, *asked, *answer) error {
	return func(c *visitor, a *asked, out *answer) error {
		if c.sampler == nil {
			return fmt.Errorf("%w: there is no sampler", wire.ErrProtocol)
		}
		return done(out, do(c.sampler, a))
	}
}

// sample draws, and sends the parts of the sample from where they were written to.
func (c *visitor) sample(f wire.Frame, out *answer) error {
	if c.sampler == nil || len(f.Content) != sampleBytes {
		return fmt.Errorf("%w: a sample of %d bytes, with a sampler: %t", wire.ErrProtocol, len(f.Content), c.sampler != nil)
	}
	draws, oldest := int64(le.Uint64(f.Content)), int64(le.Uint64(f.Content[8:]))
	sizes, err := c.sampler.PartBytes(draws)
	if err != nil {
		return err
	}
	pieces, into := c.room(sizes)
	drawn, err := c.sampler.Sample(draws, oldest, into)
	if err != nil {
		return err
	}
	position, err := c.sampler.Position()
	if err != nil {
		return err
	}
	where, err := json.Marshal(position)
	if err != nil {
		return err
	}
	total := int64(8 + len(where))
	for _, size := range sizes {
		total += size
	}
	out.sent = true
	head := le.AppendUint64(f.Head(nil, int(total)), uint64(drawn))
	out.lost = c.send(append(append([][]byte{head}, pieces...), where)...)
	return nil
}

// room returns memory for the parts of a sample, and its addresses.
func (c *visitor) room(sizes []int64) (pieces [][]byte, into []int64) {
	total := int64(0)
	for _, size := range sizes {
		total += (size + alignment - 1) &^ (alignment - 1)
	}
	if int64(len(c.parts)) < total {
		memory.Allocator.Free(c.parts)
		c.parts = memory.Allocator.Allocate(int(total))
	}
	at := int64(0)
	for _, size := range sizes {
		piece := c.parts[at : at+size]
		pieces = append(pieces, piece)
		into = append(into, int64(uintptr(unsafe.Pointer(unsafe.SliceData(piece)))))
		at += (size + alignment - 1) &^ (alignment - 1)
	}
	return pieces, into
}
