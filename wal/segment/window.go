package segment

import (
	"bytes"
	"cmp"
	"errors"
	"io"

	"github.com/persisting/persisting/vfs"
)

const (
	// ChunkBytes is how much of a file is read at once.
	ChunkBytes  = 1 << 20
	sectorBytes = 4 << 10 // read at once where a chunk cannot be read
)

// Window is the part of a file that is in memory.
type Window struct {
	File    vfs.File
	Size    int64 // of the file, as far as it is to be read
	Keep    bool  // bytes given out are never overwritten
	Patient bool  // sectors that cannot be read count as damaged bytes
	Step    int64 // bytes read at once; 0: ChunkBytes

	buf []byte
	off int64
}

// At returns the n bytes from off on, which must lie within the file. Its first byte is 8-byte aligned when off is.
func (w *Window) At(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		if err := w.load(off, n); err != nil {
			return nil, err
		}
	}
	from := off - w.off
	return w.buf[from : from+n : from+n], nil
}

// Skip returns the first place from off on that is not in a hole of the file, as far as that is known, or its end.
func (w *Window) Skip(off int64) int64 {
	if off >= w.off && off < w.off+int64(len(w.buf)) {
		return off
	}
	if f, ok := w.File.(vfs.Sparse); ok {
		off = max(off, f.DataFrom(off)&^(alignment-1))
	}
	return min(off, w.Size)
}

// Header returns what the file begins with, and its checksum.
func (w *Window) Header() (Header, uint32, error) {
	b := make([]byte, min(w.Size, HeaderBytes))
	if err := readFull(w.File, b, 0); err != nil {
		if !w.Patient {
			return Header{}, 0, err
		}
		b = nil
	}
	return decodeHeader(b)
}

// Guess returns salt and first row of the first record that can be read, or a row below zero if there is none. They stand for
// those of a header that is damaged: a record that only looks like one has a checksum that begins with its place.
func (w *Window) Guess() (salt uint32, first int64, err error) {
	at, r, err := w.findHead(HeaderBytes, decodeUnsalted)
	if err != nil || at < 0 {
		return 0, -1, err
	}
	b, err := w.At(at, RecordBytes)
	if err != nil {
		return 0, -1, err
	}
	return order.Uint32(b[8:]), r.first, nil
}

// Leads reports whether the segment, of which h is the header, ends with a mark after which a segment with the header next
// begins. No more than the two records that matter are read.
func (w *Window) Leads(h, next Header) bool {
	at := int64(HeaderBytes)
	for range 2 { // the preamble, which is as long as the end mark, then the end mark
		if at < HeaderBytes || w.Size-at < RecordBytes {
			return false
		}
		b, err := w.At(at, RecordBytes)
		if err != nil {
			return false
		}
		r, ok := decodeRecord(b, at, h.Salt)
		switch {
		case !ok || r.length > next.PrevEnd:
			return false
		case r.kind == uint32(Sealed):
			return r.first == next.Base && at+Span(r.length) == next.PrevEnd
		}
		at = next.PrevEnd - Span(r.length)
	}
	return false
}

// from returns what is in memory from off on, at least the head of a record; off+RecordBytes must lie within the file.
func (w *Window) from(off int64) ([]byte, error) {
	if end := w.off + int64(len(w.buf)); off >= w.off && off+RecordBytes <= end {
		return w.buf[off-w.off:], nil
	}
	return w.At(off, min(w.Size-off, ChunkBytes))
}

func (w *Window) load(off, n int64) error {
	// More than was asked for, as records are read in order: a call for each would be most of the
	// time of a recovery.
	n = min(max(n, cmp.Or(w.Step, ChunkBytes)), w.Size-off)
	if w.Keep || int64(cap(w.buf)) < n {
		w.buf = make([]byte, n, (n+63)&^63) // 64 bytes and more are aligned
	}
	w.buf, w.off = w.buf[:n], off
	err := readFull(w.File, w.buf, off)
	if err == nil || !w.Patient {
		return err
	}
	// Sector by sector, so that one that cannot be read takes no sound record beside it with it.
	for b := w.buf; len(b) > 0; {
		sector := b[:min(sectorBytes-off%sectorBytes, int64(len(b)))]
		if readFull(w.File, sector, off) != nil {
			for i := range sector {
				sector[i] = 0xff
			}
		}
		off += int64(len(sector))
		b = b[len(sector):]
	}
	return nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// findHead returns the first place from at on where decode finds the head of a record, or -1.
func (w *Window) findHead(at int64, decode func([]byte, int64) (record, bool)) (int64, record, error) {
	for at = w.Skip(at); w.Size-at >= RecordBytes; at = w.Skip(at) {
		b, err := w.from(at)
		if err != nil {
			return 0, record{}, err
		}
		for ; len(b) >= RecordBytes; b, at = b[alignment:], at+alignment {
			if r, ok := decode(b, at); ok {
				return at, r, nil
			}
		}
	}
	return -1, record{}, nil
}

// used returns the end of the last byte from off on that is not zero, at least off; where reading failed, that place.
func (w *Window) used(off int64) (int64, error) {
	used := off
	for at := w.Skip(off); at < w.Size; at = w.Skip(at) {
		b, err := w.At(at, min(w.Size-at, int64(len(zeros))))
		if err != nil {
			return at, err
		}
		at += int64(len(b))
		if !bytes.Equal(b, zeros[:len(b)]) {
			used = at - int64(len(b)-len(bytes.TrimRight(b, "\x00")))
		}
	}
	return used, nil
}
