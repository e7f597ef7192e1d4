package blob

import "fmt"

// writeBytes is how much of a block is summed and then written, while the processor has it in its cache.
const writeBytes = 256 << 10

// Write writes a block at a page that was reserved, and fills in h where it lies and what its checksum is.
func (g *Segment) Write(page uint32, h *Header, pieces [][]byte) error {
	h.Epoch, h.Slot, h.Page = g.Epoch(), g.Slot, page
	off := int64(page) * PageBytes
	first, rest := cut(pieces, writeBytes)
	g.dirty.Store(true)
	sum, length, err := g.writeParts(rest, off+PageBytes+writeBytes)
	if err == nil {
		h.Sum = joined(extendAll(0, first), sum, length)
		// The header comes last, in one call with what is behind it: a crash in between leaves a block without a header, and one
		// of the machine what does not have its checksum.
		head := pagePool.Get().(*[PageBytes]byte)
		defer pagePool.Put(head)
		h.encode(head[:], g.store.id)
		err = g.put(append([][]byte{head[:]}, first...), off)
	}
	if err != nil {
		return fmt.Errorf("blob: write block: %w", err)
	}
	return nil
}

// writeParts writes pieces from off on, and returns their checksum and length.
func (g *Segment) writeParts(pieces [][]byte, off int64) (sum uint32, length int64, err error) {
	for len(pieces) > 0 {
		var part [][]byte
		part, pieces = cut(pieces, writeBytes)
		sum = extendAll(sum, part)
		if err := g.put(part, off+length); err != nil {
			return 0, 0, err
		}
		for _, p := range part {
			length += int64(len(p))
		}
	}
	return sum, length, nil
}

// put writes to the file, one at a time: the system lets no two write to one file, and has those that wait keep a processor busy.
func (g *Segment) put(pieces [][]byte, off int64) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	return g.file.WriteAt(pieces, off)
}
