package blob

import (
	"fmt"
	"sync"

	"github.com/persisting/persisting/vfs"
)

const (
	// readBytes is how much of a block is read before its checksum is computed, while it is in the processor's cache. In place of
	// whole blocks, beside the same raw rates: blocks of 6 MiB, 8 at a time, from memory 4.8 GB/s and not 3.4, from the disk,
	// which reads ahead meanwhile, 1.14 GB/s and not 0.46.
	readBytes = 256 << 10
	// spanBytes is what is worth a processor of its own.
	spanBytes = 2 * readBytes
)

// Read fills the pieces with the payload of a block. An error is of the disk, or matches [ErrBlock] where the block is not, as
// a whole, what is wanted. So many helpers take part where the block is long enough, each on a processor of its own.
func (g *Segment) Read(w Want, pieces [][]byte, helpers int) error {
	return g.read(w, pieces, helpers, g.readParts)
}

// read divides a block into spans, has each be read, and looks at what came.
func (g *Segment) read(w Want, pieces [][]byte, helpers int, fill func(head []byte, s *span, off int64) (uint32, error)) error {
	head := pagePool.Get().(*[PageBytes]byte)
	defer pagePool.Put(head)
	off := int64(w.Page) * PageBytes
	spans := divide(pieces, w.Length, helpers)
	var helping sync.WaitGroup
	for i := 1; i < len(spans); i++ {
		s := &spans[i]
		helping.Go(func() { s.sum, s.err = fill(nil, s, off+PageBytes+s.from) })
	}
	// The header comes with the first part, in one call: most blocks that are asked for are there,
	// and a call for the header alone would be one more to the disk.
	spans[0].sum, spans[0].err = fill(head[:], &spans[0], off)
	helping.Wait()
	sum, err := together(spans)
	if err != nil {
		return fmt.Errorf("blob: read block: %w", err)
	}
	want, err := g.fits(head[:], w)
	if err == nil && sum != want {
		err = fmt.Errorf("%w: payload at page %d of slot %d does not have its checksum", ErrBlock, w.Page, g.Slot)
	}
	return err
}

// readParts fills a page of header, unless that is nil, and the pieces of a span behind it, and returns their checksum.
func (g *Segment) readParts(head []byte, s *span, off int64) (sum uint32, err error) {
	for pieces := s.pieces; head != nil || len(pieces) > 0; {
		var part [][]byte
		part, pieces = cut(pieces, readBytes)
		all := part
		if head != nil {
			all = append([][]byte{head}, part...)
		}
		if err := vfs.ReadPieces(g.file, all, off); err != nil {
			return 0, err
		}
		off += int64(len(head)) + readBytes
		head = nil
		sum = extendAll(sum, part)
	}
	return sum, nil
}

// span is the part of a payload that one processor reads.
type span struct {
	from, length int64
	pieces       [][]byte
	sum          uint32
	err          error
}

// divide cuts a payload into one span, and one more for each helper as far as that is worth it.
func divide(pieces [][]byte, length uint32, helpers int) []span {
	count := max(1, min(int64(helpers)+1, int64(length)/spanBytes))
	each := int64(length) / count / PageBytes * PageBytes
	spans := make([]span, count)
	for i := range spans[:count-1] {
		spans[i] = span{from: int64(i) * each, length: each}
		spans[i].pieces, pieces = cut(pieces, int(each))
	}
	last := (count - 1) * each
	spans[count-1] = span{from: last, length: int64(length) - last, pieces: pieces}
	return spans
}

// together is the checksum of all spans.
func together(spans []span) (sum uint32, err error) {
	for i, s := range spans {
		switch {
		case s.err != nil:
			return 0, s.err
		case i == 0:
			sum = s.sum
		default:
			sum = joined(sum, s.sum, s.length)
		}
	}
	return sum, nil
}

// cut divides pieces behind their first n bytes. The slice that it is given stays as it is.
func cut(pieces [][]byte, n int) (part, rest [][]byte) {
	for i, p := range pieces {
		if len(p) > n {
			part = append(pieces[:i:i], p[:n])
			return part, append([][]byte{p[n:]}, pieces[i+1:]...)
		}
		n -= len(p)
	}
	return pieces, nil
}
