package params

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

// starSteps is after how many versions a tensor is told from its anchor again, so that none is more than so many layers away.
const starSteps = 8

// layerBytes is up to what size a coded object is read as a whole: a version at the end of a chain has nine of each tensor, and
// several tensors are read at a time.
const layerBytes = 1 << 20

// chain are layers of an object that are applied to its blocks. What was read of them stays until the last block is done.
type chain struct {
	v      *Weights
	length int64 // of the object
	layers []layer

	asked  bool // whether it was asked for ahead, by whoever plans the reads
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

// ask has the system begin to read the layers, once. What fails is told when they are opened.
func (c *chain) ask() {
	if c.asked {
		return
	}
	c.asked = true
	for i := range c.layers {
		c.v.ask(&c.layers[i])
	}
}

// ask has the system begin to read a layer, as [chain.ask] does.
func (v *Weights) ask(l *layer) {
	if files, err := v.file(l.pack); err == nil {
		vfs.Prefetch(files.opened, l.offset, l.length)
	}
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
	place := func(reason string) error {
		return &pack.DamageError{Path: files.path, Offset: l.offset, Reason: reason}
	}
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
	return &pack.DamageError{Path: l.files.path, Offset: l.at + l.blocks[block].offset, Reason: reason}
}

// applyLayers does to a block what layers say, one after the other.
func applyLayers(layers []openLayer, block int64, data []byte) error {
	for len(layers) > 0 {
		n := 1 // the same bytes may have been of another dtype before, whose elements have another width
		for n < len(layers) && layers[n].width == layers[0].width {
			n++
		}
		if err := applyAlike(layers[:n], block, data); err != nil {
			return err
		}
		layers = layers[n:]
	}
	return nil
}

// applyAlike does the same with layers whose elements have one width.
func applyAlike(layers []openLayer, block int64, data []byte) error {
	steps, of := make([]delta.Layer, 0, starSteps), make([]int, 0, starSteps)
	for i := range layers {
		l := &layers[i]
		code := l.blocks[block].code
		switch code {
		case delta.Same:
			continue
		case delta.Raw: // what comes before it is of no use
			steps, of = steps[:0], of[:0]
		}
		payload, err := l.payload(block)
		if err != nil {
			return err
		}
		steps, of = append(steps, delta.Layer{Code: code, Payload: payload}), append(of, i)
	}
	if len(steps) == 0 {
		return nil
	}
	if bad, err := delta.Apply(layers[0].width, steps, data); err != nil {
		return layers[of[bad]].damage(block, "what was to be done to a block makes no sense")
	}
	return nil
}

// apply makes a block of the object of its raw bytes.
func (c *chain) apply(block int64, data []byte) error {
	if err := c.open(); err != nil {
		return err
	}
	return applyLayers(c.opened, block, data)
}

// anchorSums are the checksums of the raw bytes under the layers.
func (c *chain) anchorSums() ([]pack.Sum, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	sums := make([]pack.Sum, len(c.opened[0].blocks))
	for i := range sums {
		sums[i] = c.opened[0].blocks[i].base
	}
	return sums, nil
}
