package batch

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine/memory"
)

// Join makes one batch of the rows of messages that passed check. The caller
// releases it.
func (m *MessageSchema) Join(messages [][]byte) (arrow.Record, error) {
	j := joiner{make([]body, len(messages)), make([]part, len(messages))}
	// All messages are open at once and walked side by side, column by column: each array is made
	// once, at its full size, and no batch of a single message is ever made.
	rows, all := make([]stretch, len(messages)), int64(0)
	for i, message := range messages {
		b, err := openMessage(message)
		if err != nil {
			return nil, err
		}
		j.bodies[i], rows[i] = b, stretch{0, b.rows}
		all += b.rows
	}
	columns := make([]arrow.Array, len(m.columns))
	for i := range m.columns {
		values := m.columns[i].join(&j, rows)
		columns[i] = array.MakeFromData(values)
		values.Release()
		defer columns[i].Release()
	}
	return array.NewRecord(m.Schema, columns, all), nil
}

// joiner is what joins use one after the other.
type joiner struct {
	bodies []body // each at the array that comes next
	parts  []part // of the array that is made
}

// stretch is the values [from, to) of an array.
type stretch struct{ from, to int64 }

func (s stretch) count() int64 { return s.to - s.from }

// join makes one array of those that come next in the messages, of each the values
// that taken says.
func (c *column) join(j *joiner, taken []stretch) arrow.ArrayData {
	parts := j.parts
	length, nulls := int64(0), int64(0)
	for i := range parts {
		parts[i] = c.part(&j.bodies[i], taken[i])
		length += taken[i].count()
		nulls += parts[i].nulls
	}
	var buffers []*arrowmemory.Buffer
	below := make([]stretch, len(parts)) // what the children give
	switch c.form {
	case formNull:
		nulls = length
		buffers = []*arrowmemory.Buffer{nil}
	case formFixed:
		buffers = []*arrowmemory.Buffer{joinValidity(parts, length, nulls), c.joinFixed(parts, length)}
	case formText, formList:
		buffers = []*arrowmemory.Buffer{joinValidity(parts, length, nulls), c.joinOffsets(parts, below, length)}
		if c.form == formText {
			buffers = append(buffers, joinText(parts, below))
		}
	case formGroup:
		buffers = []*arrowmemory.Buffer{joinValidity(parts, length, nulls)}
		for i, p := range parts {
			below[i] = stretch{p.from * c.repeat, p.to * c.repeat}
		}
	}
	defer func() {
		for _, b := range buffers {
			if b != nil {
				b.Release()
			}
		}
	}()
	children := make([]arrow.ArrayData, len(c.children))
	for i := range children {
		children[i] = c.children[i].join(j, below)
		defer children[i].Release()
	}
	return array.NewData(c.dataType, int(length), buffers, children, int(nulls), 0)
}

// part is what one message gives to an array.
type part struct {
	stretch
	nulls    int64  // among the values of the stretch
	validity []byte // nil when none of the message's values is null
	values   []byte // or offsets
	text     []byte
}

// part takes the array that comes next in a message.
func (c *column) part(b *body, taken stretch) part {
	p := part{stretch: taken}
	_, nulls, _ := b.node()
	var buffers [3][]byte
	for i := range c.form.buffers() {
		from, to, _ := b.buffer()
		buffers[i] = b.data[from:to]
	}
	p.values, p.text = buffers[1], buffers[2]
	if c.form != formNull && nulls > 0 {
		p.validity = buffers[0]
		p.nulls = taken.count() - int64(bitutil.CountSetBits(p.validity, int(taken.from), int(taken.count())))
	}
	return p
}

func joinValidity(parts []part, length, nulls int64) *arrowmemory.Buffer {
	// Most columns have none, and arrow takes a missing bitmap for all valid.
	if nulls == 0 {
		return nil
	}
	joined := bufferOf((length + 7) / 8)
	at := int64(0)
	for _, p := range parts {
		copyBits(joined.Bytes(), at, p.validity, p.stretch)
		at += p.count()
	}
	return joined
}

// copyBits copies the bits of a stretch, which are all set where source is nil, to bit
// at of target.
func copyBits(target []byte, at int64, source []byte, s stretch) {
	if source == nil {
		bitutil.SetBitsTo(target, at, s.count(), true)
		return
	}
	bitutil.CopyBitmap(source, int(s.from), int(s.count()), target, int(at))
}

func (c *column) joinFixed(parts []part, length int64) *arrowmemory.Buffer {
	joined := bufferOf((length*c.bits + 7) / 8)
	at := int64(0)
	for _, p := range parts {
		if c.bits == 1 {
			copyBits(joined.Bytes(), at, p.values, p.stretch)
			at += p.count()
			continue
		}
		width := c.bits / 8
		at += int64(copy(joined.Bytes()[at:], p.values[p.from*width:p.to*width]))
	}
	return joined
}

// joinOffsets makes offsets into what the values of the parts are joined to, and
// sets below to the values that are.
func (c *column) joinOffsets(parts []part, below []stretch, length int64) *arrowmemory.Buffer {
	width := c.bits / 8
	joined := bufferOf((length + 1) * width)
	rest, end := joined.Bytes(), int64(0)
	clear(rest[:width])
	rest = rest[width:]
	for i, p := range parts {
		if p.count() == 0 {
			continue
		}
		// Offsets of a message begin anywhere from 0 on: each is moved by what stands before its
		// part.
		first := offsetAt(p.values, p.from, width)
		last := first
		for j := p.from + 1; j <= p.to; j++ {
			last = offsetAt(p.values, j, width)
			if width == 8 {
				binary.LittleEndian.PutUint64(rest, uint64(end+last-first))
			} else {
				binary.LittleEndian.PutUint32(rest, uint32(end+last-first))
			}
			rest = rest[width:]
		}
		below[i] = stretch{first, last}
		end += last - first
	}
	return joined
}

func offsetAt(offsets []byte, i, width int64) int64 {
	if width == 8 {
		return int64(binary.LittleEndian.Uint64(offsets[8*i:]))
	}
	return int64(binary.LittleEndian.Uint32(offsets[4*i:]))
}

func joinText(parts []part, taken []stretch) *arrowmemory.Buffer {
	// Known before anything is copied, so that the memory is taken once.
	size := int64(0)
	for _, s := range taken {
		size += s.count()
	}
	joined := bufferOf(size)
	rest := joined.Bytes()
	for i, p := range parts {
		rest = rest[copy(rest, p.text[taken[i].from:taken[i].to]):]
	}
	return joined
}

func bufferOf(size int64) *arrowmemory.Buffer {
	b := arrowmemory.NewResizableBuffer(memory.Allocator)
	b.Resize(int(size))
	return b
}

// ReleaseAll lets go of batches.
func ReleaseAll(recs []arrow.Record) {
	for _, r := range recs {
		r.Release()
	}
}

// Concat joins batches of one schema into one. The caller releases the result.
func Concat(schema *arrow.Schema, recs []arrow.Record) (arrow.Record, error) {
	// The very record: to copy one would double its memory for nothing.
	if len(recs) == 1 {
		recs[0].Retain()
		return recs[0], nil
	}
	var rows int64
	for _, r := range recs {
		rows += r.NumRows()
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	parts := make([]arrow.Array, len(recs))
	for i := range columns {
		for j, r := range recs {
			parts[j] = r.Column(i)
		}
		joined, err := array.Concatenate(parts, memory.Allocator)
		if err != nil {
			return nil, err
		}
		columns[i] = joined
	}
	return array.NewRecord(schema, columns, rows), nil
}
