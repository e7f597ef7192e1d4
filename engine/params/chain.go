package params

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

// layerBytes is up to what size a coded object is read as a whole: a version at the end of a chain has nine of each tensor, and
// several tensors are read at a time.
const layerBytes = 1 << 20

// chain are layers of an object that are applied to its blocks. What was read of them stays until the last block is done.
type chain struct {
	v      *Weights
	length int64 // of the object
	layers []layer

	once   sync.Once
	failed error
	opened []openLayer
	left   atomic.Int64 // blocks
}

// openLayer is a layer whose head was read.
type openLayer struct {
	*coded
	files *packFiles
	at    int64  // of the coded object in the pack
	whole []byte // nil for a large one, whose payloads are read one by one
}

// chain returns the layers that make an object of its raw bytes, nil where those are it. They are good for a number of blocks.
func (v *Weights) chain(object uint32) *chain {
	layers := v.m.chain(object)
	if len(layers) == 0 {
		return nil
	}
	return &chain{v: v, length: v.m.lengths[object], layers: layers}
}

// open reads the heads, once.
func (c *chain) open() error {
	c.once.Do(func() {
		for i := range c.layers {
			l, err := c.v.layer(&c.layers[i], c.length)
			if err != nil {
				c.failed = err
				return
			}
			c.opened = append(c.opened, *l)
		}
	})
	return c.failed
}

// done lets go of what was read, once no block is left.
func (c *chain) done() {
	if c.left.Add(-1) == 0 {
		c.opened = nil
	}
}

// layer reads the head of a layer, of an object of a length, and all of it if that is not much.
func (v *Weights) layer(l *layer, length int64) (*openLayer, error) {
	files, err := v.file(l.pack)
	if err != nil {
		return nil, err
	}
	size := headBytes(length)
	place := func(reason string) error { return &DamageError{Path: files.path, Offset: l.offset, Reason: reason} }
	if l.length < size {
		return nil, place("a coded object is too short")
	}
	found := &openLayer{files: files, at: l.offset}
	head := make([]byte, size)
	if l.length <= layerBytes {
		found.whole = make([]byte, l.length)
		head = found.whole[:size]
		err = vfs.ReadPieces(files.opened, [][]byte{found.whole}, l.offset)
	} else {
		err = vfs.ReadPieces(files.opened, [][]byte{head}, l.offset)
	}
	if err != nil {
		return nil, fmt.Errorf("%s at %d: %w", files.path, l.offset, err)
	}
	var wrong string
	if found.coded, wrong = parseCoded(head, length); wrong != "" {
		return nil, place(wrong)
	}
	if n := len(found.blocks); n > 0 && found.blocks[n-1].offset+found.blocks[n-1].length != l.length {
		return nil, place("a coded object has another length")
	}
	if base, target := found.identities(); base != l.base || target != l.target {
		return nil, place("a coded object leads from or to another")
	}
	return found, nil
}

// payload reads what a layer does to a block, and checks it.
func (l *openLayer) payload(block int64) ([]byte, error) {
	b := &l.blocks[block]
	var payload []byte
	if l.whole != nil {
		payload = l.whole[b.offset : b.offset+b.length]
	} else {
		payload = make([]byte, b.length)
		if err := vfs.ReadPieces(l.files.opened, [][]byte{payload}, l.at+b.offset); err != nil {
			return nil, err
		}
	}
	if xxh3.Hash(payload) != b.check {
		return nil, l.damage(block, errSum.Error())
	}
	return payload, nil
}

func (l *openLayer) damage(block int64, reason string) error {
	return &DamageError{Path: l.files.path, Offset: l.at + l.blocks[block].offset, Reason: reason}
}

// apply does to a block what the layer says.
func (l *openLayer) apply(block int64, data []byte) error {
	b := &l.blocks[block]
	if b.code == delta.Same {
		return nil
	}
	payload, err := l.payload(block)
	if err == nil && delta.Apply(b.code, l.width, payload, data) != nil {
		err = l.damage(block, "what was to be done to a block makes no sense")
	}
	return err
}

// apply makes a block of the object of its raw bytes.
func (c *chain) apply(block int64, data []byte) error {
	if err := c.open(); err != nil {
		return err
	}
	first := 0 // what comes before a raw block is of no use
	for i := range c.opened {
		if c.opened[i].blocks[block].code == delta.Raw {
			first = i
		}
	}
	for i := first; i < len(c.opened); i++ {
		if err := c.opened[i].apply(block, data); err != nil {
			return err
		}
	}
	return nil
}

// anchorSums are the checksums of the raw bytes under the layers.
func (c *chain) anchorSums() ([]sum, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	sums := make([]sum, len(c.opened[0].blocks))
	for i := range sums {
		sums[i] = c.opened[0].blocks[i].base
	}
	return sums, nil
}
