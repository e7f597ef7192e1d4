package params

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/engine/params/pack"
)

const (
	// codedSpan is how many blocks are coded in one go; a read of them is a job.
	codedSpan = jobBytes / pack.BlockBytes
	// hopelessShare is from how many hundredths of a tensor on its delta is not worth its while.
	hopelessShare = 60
)

// coding is a coded object that is being made.
type coding struct {
	coded
	target []byte
	from   *origin

	spans    atomic.Int64 // that are not done
	done     chan struct{}
	looked   atomic.Int64 // bytes
	size     atomic.Int64 // of payloads
	hopeless atomic.Bool  // it is given up
	fault    sync.Mutex
	failed   error
}

// codedPart is a part of a coding: work for one processor.
type codedPart struct {
	c           *coding
	first, last int64 // blocks
}

// codeAll makes coded objects, several at a time. The work is in the order in which they are given.
func codeAll(all []*coding, workers int) {
	var parts []codedPart
	for _, c := range all {
		n := int64(len(c.blocks))
		c.spans.Store((n + codedSpan - 1) / codedSpan)
		for b := int64(0); b < n; b += codedSpan {
			parts = append(parts, codedPart{c, b, min(n, b+codedSpan)})
		}
	}
	var next atomic.Int64
	for range min(workers, len(parts)) {
		go func() {
			var coder delta.Coder
			var buffer []byte
			for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
				p := &parts[i]
				if buffer == nil && p.c.from.memory == nil {
					buffer = originBuffer()
				}
				p.finish(p.code(&coder, buffer))
			}
		}()
	}
}

// finish notes that a part is done, or how it failed. A base that is damaged is one that nothing is told from.
func (p *codedPart) finish(err error) {
	c := p.c
	switch {
	case errors.As(err, new(*pack.DamageError)):
		c.hopeless.Store(true)
	case err != nil:
		c.hopeless.Store(true)
		c.fault.Lock()
		c.failed = errors.Join(c.failed, err)
		c.fault.Unlock()
	}
	if c.spans.Add(-1) == 0 {
		c.from = nil // with what was read of layers
		close(c.done)
	}
}

// code codes the blocks of a part. A base in memory is made what it came to be, while the processor has it in its cache.
func (p *codedPart) code(coder *delta.Coder, buffer []byte) (err error) {
	defer engine.Contain(&err)
	c := p.c
	if c.hopeless.Load() && c.from.memory == nil {
		return nil
	}
	base, err := c.from.read(p.first, p.last, buffer)
	if err != nil {
		return err
	}
	begin, _ := pack.Range(p.first, c.length)
	for block := p.first; block < p.last; block++ {
		from, to := pack.Range(block, c.length)
		c.codeBlock(coder, &c.blocks[block], base[from-begin:to-begin], c.target[from:to])
		c.looked.Add(to - from)
	}
	if c.looked.Load() >= min(c.length, jobBytes-pack.Phase) && c.size.Load() > c.looked.Load()*hopelessShare/100 {
		c.hopeless.Store(true)
	}
	return nil
}

// codeBlock tells a block from what it was, which becomes what it is if it is in memory.
func (c *coding) codeBlock(coder *delta.Coder, b *codedBlock, old, now []byte) {
	if b.base == b.target {
		b.code = delta.Same
		return
	}
	code := delta.Raw
	if !c.hopeless.Load() {
		code, b.payload = coder.Encode(nil, c.width, old, now)
		if b.code = code; code == delta.Raw {
			b.payload = now
		}
		c.size.Add(int64(len(b.payload)))
	}
	if c.from.memory != nil {
		coder.Follow(code, c.width, old, now)
	}
}

// wait returns the coded object, nil where it would not be worth its while.
func (c *coding) wait() ([]byte, error) {
	<-c.done
	if c.failed != nil || c.hopeless.Load() {
		return nil, c.failed
	}
	whole := c.encode()
	for i := range c.blocks {
		c.blocks[i].payload = nil
	}
	if int64(len(whole)) > c.length*hopelessShare/100 {
		return nil, nil
	}
	return whole, nil
}
