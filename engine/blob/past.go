package blob

import (
	"sync"

	"github.com/persisting/persisting/vfs"
)

const (
	// pastBytes is how much is read past the page cache with one request, a huge page.
	pastBytes = 2 << 20
	// minPast is the shortest block that is read so: for a shorter one a disk takes as long, and the cache reads ahead.
	minPast = 128 << 10
	// pastHelpers is how many more requests of a long block are with the disk at a time, whatever the processors do.
	pastHelpers = 1
)

// past is the file of a segment once more, for reads past the page cache: that is a property of an open file, for all who read it.
type past struct {
	opening sync.Once
	file    vfs.File // nil where the file system has no such reads, or no descriptor was left
}

// open returns the file, which most segments never need.
func (p *past) open(g *Segment) vfs.File {
	p.opening.Do(func() {
		f, err := g.store.FS.Open(g.store.Path(g.Slot))
		if err != nil {
			return // reads go through the cache, and tell what is wrong
		}
		if vfs.GoDirect(f) == 0 {
			_ = f.Close() // nothing was written
			return
		}
		p.file = f
	})
	return p.file
}

func (p *past) close() error {
	p.opening.Do(func() {})
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// Away says whether a block is long and not in memory, so that ReadPast is the faster way to it. It does not wait for the disk.
func (g *Segment) Away(w Want) bool {
	n := int64(w.Length)
	return n >= minPast && vfs.Cached(g.file, int64(w.Page+1)*PageBytes, n) < n/2
}

// ReadPast is Read past the page cache, which stays as it is. What cannot be read so is read through it.
func (g *Segment) ReadPast(w Want, pieces [][]byte, helpers int) error {
	file := g.past.open(g)
	if file == nil {
		return g.Read(w, pieces, helpers)
	}
	return g.read(w, pieces, max(helpers, pastHelpers), func(head []byte, s *span, off int64) (uint32, error) {
		sum, err := readPast(file, head, s, off)
		if err != nil {
			return g.readParts(head, s, off)
		}
		return sum, nil
	})
}

// pastPool has buffers in huge pages. The caller's memory is mostly in small ones, into which a disk is slower than it takes to
// copy: see [vfs.Aligned].
var pastPool = sync.Pool{New: func() any {
	b := vfs.Aligned(pastBytes)
	return &b
}}

// readPast is readParts of a file that wants whole pages, which blocks are made of.
func readPast(file vfs.File, head []byte, s *span, off int64) (sum uint32, err error) {
	buffer := pastPool.Get().(*[]byte)
	defer pastPool.Put(buffer)
	into := sink{pieces: s.pieces}
	for left := int64(len(head)) + s.length; left > 0; {
		n := min(left, pastBytes)
		pages := (n + PageBytes - 1) / PageBytes * PageBytes
		if err := vfs.ReadPieces(file, [][]byte{(*buffer)[:pages]}, off); err != nil {
			return 0, err
		}
		got := (*buffer)[:n]
		got = got[copy(head, got):]
		head = nil
		sum = into.take(got, sum)
		off, left = off+n, left-n
	}
	return sum, nil
}

// sink is memory in pieces that is filled from the front to the back.
type sink struct {
	pieces [][]byte
	at     int // in the first of them
}

// take fills in bytes and sums them on the way, so much at a time that the processor has them still when it copies them.
func (s *sink) take(b []byte, sum uint32) uint32 {
	for len(b) > 0 {
		near := b[:min(len(b), nearBytes)]
		b = b[len(near):]
		sum = extend(sum, near)
		for len(near) > 0 {
			n := copy(s.pieces[0][s.at:], near)
			if near, s.at = near[n:], s.at+n; s.at == len(s.pieces[0]) {
				s.pieces, s.at = s.pieces[1:], 0
			}
		}
	}
	return sum
}
