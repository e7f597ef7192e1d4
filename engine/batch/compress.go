package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/persisting/persisting/engine"
	"github.com/pierrec/lz4/v4"
)

// A compressed body of a log entry begins with 12 bytes, where a plain one, which is
// an IPC message, begins with ff ff ff ff:
//
//	byte 0  3  "PWZ"
//	     3  1  codec: 1 = a block of LZ4, 2 = a frame of Zstandard
//	     4  8  length of the plain body, little-endian
//
// None of these numbers ever changes.
const (
	compressedMark = "PWZ"
	codecLZ4       = 1
	codecZstd      = 2
	compressedHead = 12

	// minCompressed is the length from which it is tried to compress a body.
	minCompressed = 256
	// maxScratch is the length above which scratch is not kept.
	maxScratch = 1 << 20
	// maxLZ4Ratio is how many bytes one byte of a block can stand for.
	maxLZ4Ratio = 255
)

// MaxBytes is the largest body of a log entry. What says that it stands for more is damaged: this much memory is
// taken before the rest of it is known.
const MaxBytes = 1 << 30

// Compressions are the names that NewCompressor takes.
var Compressions = []string{"none", "lz4", "zstd"}

// Compressor makes bodies of log entries smaller, one at a time.
type Compressor struct {
	lz4   lz4.Compressor
	zstd  *zstd.Encoder // nil: LZ4
	plain []byte        // scratch
}

// NewCompressor returns nil for "none".
func NewCompressor(compression string) (*Compressor, error) {
	if compression == "none" {
		return nil, nil
	}
	c := &Compressor{}
	if compression == "zstd" {
		var err error
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("engine: zstd: %w", err)
		}
	}
	return c, nil
}

// Compress returns what the log gets for a body: the body itself where an eighth of
// it would not be spared, and from a nil compressor.
func (c *Compressor) Compress(body [][]byte) [][]byte {
	if c == nil {
		return body
	}
	length := 0
	for _, piece := range body {
		length += len(piece)
	}
	// A small entry is mostly head and padding, which stay as they are.
	if length < minCompressed || length > MaxBytes {
		return body
	}
	// One piece is compressed where it lies.
	plain := body[0]
	if len(body) > 1 {
		plain = c.plain[:0]
		for _, piece := range body {
			plain = append(plain, piece...)
		}
		if c.plain = plain; cap(plain) > maxScratch {
			c.plain = nil
		}
	}
	out := make([]byte, compressedHead, compressedHead+length)
	copy(out, compressedMark)
	binary.LittleEndian.PutUint64(out[4:], uint64(length))
	if c.zstd != nil {
		out[3] = codecZstd
		out = c.zstd.EncodeAll(plain, out)
	} else {
		out[3] = codecLZ4
		n, err := c.lz4.CompressBlock(plain, out[compressedHead:cap(out)])
		if err != nil || n == 0 { // it would be longer
			return body
		}
		out = out[:compressedHead+n]
	}
	// It has to be decompressed at each recovery, which is not worth less.
	if len(out) > length-length/8 {
		return body
	}
	return [][]byte{out}
}

// decompressor undoes what a compressor does.
type decompressor struct{ zstd *zstd.Decoder }

// decompress returns the plain body, which is body itself if it is not compressed.
func (d *decompressor) decompress(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte(compressedMark)) {
		return body, nil
	}
	if len(body) < compressedHead {
		return nil, fmt.Errorf("%w: a compressed body of %d bytes", engine.ErrCorrupt, len(body))
	}
	codec, packed := body[3], body[compressedHead:]
	length := binary.LittleEndian.Uint64(body[4:])
	// Before any memory is taken: these eight bytes may be anything.
	if length > MaxBytes {
		return nil, fmt.Errorf("%w: a compressed body that stands for %d bytes, more than %d", engine.ErrCorrupt, length, MaxBytes)
	}
	var plain []byte
	var err error
	switch codec {
	case codecLZ4:
		if length > maxLZ4Ratio*uint64(len(packed)) {
			return nil, fmt.Errorf("%w: %d bytes of LZ4 cannot stand for %d", engine.ErrCorrupt, len(packed), length)
		}
		plain = make([]byte, length)
		var n int
		n, err = lz4.UncompressBlock(packed, plain)
		plain = plain[:max(n, 0)]
	case codecZstd:
		plain, err = d.zstandard(packed, length)
	default:
		return nil, fmt.Errorf("%w: a body compressed by codec %d, which this version does not know", engine.ErrCorrupt, codec)
	}
	if err == nil && uint64(len(plain)) != length {
		err = fmt.Errorf("%d bytes, want %d", len(plain), length)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompress: %w", engine.ErrCorrupt, err)
	}
	return plain, nil
}

// zstandard decompresses one frame that says itself that it holds length bytes.
func (d *decompressor) zstandard(packed []byte, length uint64) ([]byte, error) {
	var frame zstd.Header
	if err := frame.Decode(packed); err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	// Both must say the same, so that neither can have more memory taken than the other promises.
	if !frame.HasFCS || frame.FrameContentSize != length {
		return nil, fmt.Errorf("a frame of %d bytes, want %d", frame.FrameContentSize, length)
	}
	if d.zstd == nil {
		var err error
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBytes))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
	}
	return d.zstd.DecodeAll(packed, make([]byte, 0, length))
}

func (d *decompressor) close() {
	if d.zstd != nil {
		d.zstd.Close()
		d.zstd = nil
	}
}
