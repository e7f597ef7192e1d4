package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine/memory"
)

// copyBelow is the size under which a piece of a message is gathered with its
// neighbours instead of being written from where it lies.
const copyBelow = 4 << 10

// Encoder turns batches of one schema into messages of an Arrow IPC stream: the
// schema message is the preamble of a log segment, a record batch message the
// body of an entry.
type Encoder struct {
	Schema   *arrow.Schema
	Preamble []byte
	writer   *ipc.Writer
	begun    bool // the writer has written its schema
	out      pieces
}

// NewEncoder makes the encoder of batches of schema.
func NewEncoder(schema *arrow.Schema) (*Encoder, error) {
	preamble, err := schemaMessage(schema)
	if err != nil {
		return nil, err
	}
	e := &Encoder{Schema: schema, Preamble: preamble}
	// Scratch buffers stay alive through the pieces that point into them, so
	// they come from the garbage-collected allocator.
	e.writer = ipc.NewWriterWithPayloadWriter(e, ipc.WithSchema(schema), ipc.WithAllocator(arrowmemory.DefaultAllocator))
	return e, nil
}

// schemaMessage is how an IPC stream with the columns of schema begins.
func schemaMessage(schema *arrow.Schema) ([]byte, error) {
	var stream bytes.Buffer
	if err := ipc.NewWriter(&stream, ipc.WithSchema(schema)).Close(); err != nil {
		return nil, fmt.Errorf("engine: encode schema: %w", err)
	}
	const endOfStream = 8
	return stream.Bytes()[:stream.Len()-endOfStream], nil
}

// Encode returns the message of rec. Its pieces point into the columns of rec,
// which must be kept until they are written.
func (e *Encoder) Encode(rec arrow.Record) ([][]byte, error) {
	e.out = pieces{}
	// See there: arrow/go would write other values than these.
	rec = rebased(rec)
	defer rec.Release()
	if err := e.writer.Write(rec); err != nil {
		return nil, fmt.Errorf("engine: encode batch: %w", err)
	}
	return e.out.list(), nil
}

// Start does nothing. With WritePayload and Close it makes the encoder the sink of its own writer.
func (e *Encoder) Start() error { return nil }

// Close does nothing: the end of a segment is the end of its stream.
func (e *Encoder) Close() error { return nil }

// WritePayload frames a message as the stream format does; the first one is the
// schema, which the preamble has.
func (e *Encoder) WritePayload(p ipc.Payload) error {
	// The writer writes the schema with its first batch. The log has it once for all entries of a
	// segment.
	if !e.begun {
		e.begun = true
		return nil
	}
	meta := p.Meta()
	defer meta.Release()
	// The body must begin at a multiple of 8, so that a reader can use it where it lies.
	padded := (meta.Len() + 7) &^ 7
	frame := make([]byte, 8+padded)
	binary.LittleEndian.PutUint32(frame, 0xFFFFFFFF)
	binary.LittleEndian.PutUint32(frame[4:], uint32(padded))
	copy(frame[8:], meta.Bytes())
	e.out.small = append(e.out.small, frame...)
	return p.SerializeBody(&e.out)
}

// pieces gathers what is written to it, small pieces joined, large ones as they
// are.
type pieces struct {
	small []byte
	done  [][]byte
}

func (p *pieces) Write(b []byte) (int, error) {
	if len(b) < copyBelow {
		p.small = append(p.small, b...)
		return len(b), nil
	}
	// As it lies, and with all small ones before it: the order is that of the message.
	p.done = append(p.list(), b)
	p.small = nil
	return len(b), nil
}

func (p *pieces) list() [][]byte {
	if len(p.small) == 0 {
		return p.done
	}
	return append(p.done, p.small)
}

// Decoder reads back what an encoder wrote, one entry at a time.
type Decoder struct {
	preamble []byte
	reader   *ipc.Reader
	feed     bytes.Reader
	bodies   decompressor
}

// Decode returns the batch of an entry. The caller releases it.
func (d *Decoder) Decode(preamble, body []byte) (arrow.Record, error) {
	// One reader for all entries that share a preamble: to read a schema takes longer than to read
	// a small batch, and batches of one reader share the schema by its pointer, by which others
	// tell them apart.
	if d.reader == nil || !bytes.Equal(preamble, d.preamble) {
		d.Close()
		d.feed.Reset(preamble)
		reader, err := ipc.NewReader(&d.feed, ipc.WithAllocator(memory.Allocator))
		if err != nil {
			return nil, fmt.Errorf("engine: decode schema: %w", err)
		}
		d.reader, d.preamble = reader, bytes.Clone(preamble)
	}
	body, err := d.bodies.decompress(body)
	if err != nil {
		return nil, err
	}
	// The stream of the reader never ends: each body is fed to it as the next message.
	d.feed.Reset(body)
	if !d.reader.Next() {
		err := d.reader.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("engine: decode batch: %w", err)
	}
	rec := d.reader.Record()
	rec.Retain()
	return rec, nil
}

// Close lets go of what was decoded last.
func (d *Decoder) Close() {
	d.bodies.close()
	if d.reader != nil {
		d.reader.Release()
		d.reader = nil
	}
}
