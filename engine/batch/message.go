package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"

	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
)

// MessageSchema is the columns of messages for [Bucket.AppendMessage].
type MessageSchema struct {
	Schema  *arrow.Schema
	columns []column
	Strict  bool // whether a field inside a column is not nullable
}

// NewMessageSchema prepares to read messages with the columns of schema.
func NewMessageSchema(schema *arrow.Schema) (*MessageSchema, error) {
	m := &MessageSchema{Schema: schema}
	for _, f := range schema.Fields() {
		if err := lance.CheckStorable(f); err != nil {
			return nil, &engine.SchemaError{Column: f.Name, Reason: err.Error()}
		}
		m.columns = append(m.columns, columnFor(f))
		// A column is nullable whatever its type says, and what is inside it is not: such values
		// have to be looked at one by one.
		m.Strict = m.Strict || hasRequired(f.Type)
	}
	return m, nil
}

// hasRequired says whether a field inside a type is not nullable.
func hasRequired(t arrow.DataType) bool {
	nested, ok := t.(arrow.NestedType)
	return ok && slices.ContainsFunc(nested.Fields(), func(f arrow.Field) bool {
		return !f.Nullable || hasRequired(f.Type)
	})
}

// Check says what is wrong with a message, and how many rows it has. It sees
// every fault that would make reading the message fail or lie.
func (m *MessageSchema) Check(message []byte) (rows int64, err error) {
	b, err := openMessage(message)
	if err != nil {
		return 0, err
	}
	for i := range m.columns {
		if err := m.columns[i].check(&b, b.rows); err != nil {
			return 0, err
		}
	}
	return b.rows, b.end()
}

// Copy returns the batch of a message that passed check, over a copy of its body,
// and the message in pieces, which lasts as long as the batch. The caller
// releases the batch.
func (m *MessageSchema) Copy(message []byte) (rec arrow.Record, pieces [][]byte, err error) {
	b, err := openMessage(message)
	if err != nil {
		return nil, nil, err
	}
	data := arrowmemory.NewResizableBuffer(memory.Allocator)
	defer data.Release()
	// The body in the arena, where batches may lie that go over to Lance; the head stays with the
	// log, and goes when it has written.
	data.Resize(len(b.data))
	copy(data.Bytes(), b.data)
	head := bytes.Clone(message[:len(message)-len(b.data)])
	return m.read(b, data), [][]byte{head, data.Bytes()}, nil
}

// read returns the batch of a message that passed check, over data, which is its
// body. The caller releases it.
func (m *MessageSchema) read(b body, data *arrowmemory.Buffer) arrow.Record {
	columns := make([]arrow.Array, len(m.columns))
	for i := range m.columns {
		values := m.columns[i].read(&b, data)
		columns[i] = array.MakeFromData(values)
		values.Release()
		defer columns[i].Release()
	}
	return array.NewRecord(m.Schema, columns, b.rows)
}

// form is how the buffers of an array lie in a message.
type form int

const (
	formNull  form = iota
	formFixed      // validity, values
	formText       // validity, offsets, bytes
	formList       // validity, offsets; one child
	formGroup      // validity; children of a fixed number of values for each
)

// buffers is the number of buffers of an array.
func (f form) buffers() int {
	return [...]int{formNull: 0, formFixed: 2, formText: 3, formList: 2, formGroup: 1}[f]
}

// column is what there is to know about a column to check and to read it.
type column struct {
	name     string
	dataType arrow.DataType
	form     form
	bits     int64 // of a value or of an offset
	repeat   int64 // formGroup: values of a child for each of its own
	json     bool
	text     bool // whether the bytes of a value must be UTF-8
	required bool // whether no value is null
	children []column
}

func columnFor(f arrow.Field) column {
	c := column{name: f.Name, dataType: f.Type, json: lance.IsJSON(f), required: !f.Nullable}
	switch t := f.Type.(type) {
	case *arrow.NullType:
	case *arrow.StringType, *arrow.LargeStringType:
		c.form, c.text, c.bits = formText, true, offsetBits(t)
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		c.form, c.bits = formText, offsetBits(t)
	case *arrow.LargeListType:
		c.form, c.bits, c.children = formList, 64, []column{columnFor(t.ElemField())}
	case *arrow.FixedSizeListType:
		c.form, c.repeat, c.children = formGroup, int64(t.Len()), []column{columnFor(t.ElemField())}
	case *arrow.StructType:
		c.form, c.repeat = formGroup, 1
		for _, child := range t.Fields() {
			c.children = append(c.children, columnFor(child))
		}
	case arrow.ListLikeType: // lists and maps
		c.form, c.bits, c.children = formList, 32, []column{columnFor(t.ElemField())}
	case arrow.FixedWidthDataType:
		c.form, c.bits = formFixed, int64(t.BitWidth())
	default:
		// Types are refused by CheckStorable before they come here, so this is a type that was
		// added there alone.
		panic(fmt.Sprintf("engine: %s is storable and has no form", t))
	}
	return c
}

func offsetBits(t arrow.DataType) int64 {
	return int64(t.(arrow.OffsetsDataType).OffsetTypeTraits().BytesRequired(8))
}

// check looks at the array that comes next, which must have at least rows values.
func (c *column) check(b *body, rows int64) error {
	n, nulls, err := b.node()
	if err != nil {
		return err
	}
	// More than the rows is right, as below a list that keeps items which no row has.
	if n < rows || n > math.MaxInt32 {
		return c.fault("%d values, want at least %d", n, rows)
	}
	var buffers [3][]byte
	for i := range c.form.buffers() {
		from, to, err := b.buffer()
		if err != nil {
			return err
		}
		buffers[i] = b.data[from:to]
	}
	// What the metadata says is held against the buffers here, before anything is read by it: a
	// message may come from a file that a crash has cut, or from another program.
	validity, second, text := buffers[0], buffers[1], buffers[2]
	if c.form != formNull && nulls != 0 && (int64(len(validity)) < (n+7)/8 || n-countBits(validity, n) != nulls) {
		return c.fault("its validity bitmap does not have %d nulls", nulls)
	}
	values := n * c.repeat
	switch c.form {
	case formFixed:
		if int64(len(second)) < (n*c.bits+7)/8 {
			return c.fault("%d bytes for %d values", len(second), n)
		}
	case formText, formList:
		if values, err = lastOffsetOf(second, n, c.bits/8); err != nil {
			return c.fault("%w", err)
		}
	}
	if c.form == formText {
		if int64(len(text)) < values {
			return c.fault("%d bytes of values, its offsets reach to %d", len(text), values)
		}
		switch {
		case c.json:
			return c.checkJSON(validity, second, text, n, nulls)
		case c.text && n > 0:
			return c.checkText(lance.Text{Offsets: second[:(n+1)*c.bits/8], Width: int(c.bits / 8), Bytes: text})
		}
	}
	for i := range c.children {
		if err := c.children[i].check(b, values); err != nil {
			return err
		}
	}
	return nil
}

func (c *column) checkJSON(validity, offsets, text []byte, n, nulls int64) error {
	for i := range n {
		if nulls != 0 && validity[i/8]>>(i%8)&1 == 0 {
			continue
		}
		from, to := binary.LittleEndian.Uint32(offsets[4*i:]), binary.LittleEndian.Uint32(offsets[4*i+4:])
		if err := lance.CheckJSON(string(text[from:to])); err != nil {
			return &engine.SchemaError{Column: c.name, Reason: fmt.Sprintf("JSON value %d: %v", i, err)}
		}
	}
	return nil
}

// checkText refuses text that could not be read again. What Python makes of its own
// strings always is UTF-8, but a message may come from elsewhere.
func (c *column) checkText(text lance.Text) error {
	if i := text.Fault(); i >= 0 {
		return &engine.SchemaError{Column: c.name, Reason: fmt.Sprintf("value %d: %s", i, text.Why(i))}
	}
	return nil
}

func (c *column) fault(format string, args ...any) error {
	return fmt.Errorf("%w: column %q: %w", engine.ErrMessage, c.name, fmt.Errorf(format, args...))
}

// read makes the array that comes next, of slices of data.
func (c *column) read(b *body, data *arrowmemory.Buffer) arrow.ArrayData {
	length, nulls, _ := b.node()
	buffers := make([]*arrowmemory.Buffer, c.form.buffers())
	for i := range buffers {
		from, to, _ := b.buffer()
		buffers[i] = arrowmemory.SliceBuffer(data, int(from), int(to-from))
		defer buffers[i].Release()
	}
	switch {
	case c.form == formNull:
		buffers, nulls = []*arrowmemory.Buffer{nil}, length
	case nulls == 0:
		buffers[0] = nil
	}
	children := make([]arrow.ArrayData, len(c.children))
	for i := range children {
		children[i] = c.children[i].read(b, data)
		defer children[i].Release()
	}
	return array.NewData(c.dataType, int(length), buffers, children, int(nulls), 0)
}

// body walks over the arrays of a message, parents before their children.
type body struct {
	rows           int64
	nodes, buffers []byte // what is left of the two vectors, 16 bytes each
	data           []byte
	used           int64 // of data, by the buffers so far
}

// openMessage reads the metadata of an encapsulated record batch message of the
// IPC format: a continuation marker, the size of the metadata, the metadata, the
// body. See https://arrow.apache.org/docs/format/Columnar.html and Message.fbs.
func openMessage(message []byte) (b body, err error) {
	defer func() {
		if r := recover(); r != nil { // an offset in the metadata leads out of it
			err = fmt.Errorf("%w: metadata: %v", engine.ErrMessage, r)
		}
	}()
	if len(message) < 8 || binary.LittleEndian.Uint32(message) != math.MaxUint32 {
		return b, fmt.Errorf("%w: it does not begin as an IPC message", engine.ErrMessage)
	}
	size := int64(binary.LittleEndian.Uint32(message[4:]))
	if size < 4 || size > int64(len(message)-8) {
		return b, fmt.Errorf("%w: metadata of %d bytes in a message of %d", engine.ErrMessage, size, len(message))
	}
	meta := message[8 : 8+size]
	root := flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}
	const metadataV5, recordBatch = 4, 3
	if version, kind := root.GetInt16Slot(4, 0), root.GetByteSlot(6, 0); version != metadataV5 || kind != recordBatch {
		return b, fmt.Errorf("%w: version %d, kind %d, want a record batch (%d) of version %d", engine.ErrMessage, version, kind, recordBatch, metadataV5)
	}
	b.data = message[8+size:]
	// Exactly: bytes behind the body would be in the log, and the next reader would take them for a
	// message.
	if length := root.GetInt64Slot(10, 0); length != int64(len(b.data)) {
		return b, fmt.Errorf("%w: a body of %d bytes, its metadata says %d", engine.ErrMessage, len(b.data), length)
	}
	batch := flatbuffers.Table{Bytes: meta, Pos: root.Pos}
	header := root.Offset(8)
	if header == 0 {
		return b, fmt.Errorf("%w: no record batch", engine.ErrMessage)
	}
	batch.Pos = root.Indirect(root.Pos + flatbuffers.UOffsetT(header))
	if batch.Offset(10) != 0 || batch.Offset(12) != 0 {
		return b, fmt.Errorf("%w: compressed buffers and views are not taken", engine.ErrMessage)
	}
	b.rows = batch.GetInt64Slot(4, 0)
	b.nodes, b.buffers = structs(&batch, 6), structs(&batch, 8)
	if b.rows < 0 || b.rows > math.MaxInt32 {
		return b, fmt.Errorf("%w: %d rows", engine.ErrMessage, b.rows)
	}
	return b, nil
}

// structs is a vector of structs of 16 bytes.
func structs(t *flatbuffers.Table, slot flatbuffers.VOffsetT) []byte {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return nil
	}
	start, n := t.Vector(o), t.VectorLen(o)
	return t.Bytes[start:][:16*n]
}

func (b *body) node() (length, nulls int64, err error) {
	if len(b.nodes) == 0 {
		return 0, 0, fmt.Errorf("%w: it has fewer arrays than its columns", engine.ErrMessage)
	}
	length, nulls = pair(b.nodes)
	b.nodes = b.nodes[16:]
	if nulls < 0 || length < nulls {
		return 0, 0, fmt.Errorf("%w: an array of %d values with %d nulls", engine.ErrMessage, length, nulls)
	}
	return length, nulls, nil
}

// buffer is the place of the next buffer in data.
func (b *body) buffer() (from, to int64, err error) {
	if len(b.buffers) == 0 {
		return 0, 0, fmt.Errorf("%w: it has fewer buffers than its columns", engine.ErrMessage)
	}
	from, size := pair(b.buffers)
	b.buffers = b.buffers[16:]
	if from < 0 || size < 0 || from%8 != 0 || size > int64(len(b.data)) || from > int64(len(b.data))-size {
		return 0, 0, fmt.Errorf("%w: a buffer of %d bytes at %d in a body of %d", engine.ErrMessage, size, from, len(b.data))
	}
	b.used = max(b.used, from+size)
	return from, from + size, nil
}

func (b *body) end() error {
	if len(b.nodes)+len(b.buffers) > 0 {
		return fmt.Errorf("%w: it has more arrays than its columns", engine.ErrMessage)
	}
	const alignment = 64
	if rest := int64(len(b.data)) - b.used; rest >= alignment {
		return fmt.Errorf("%w: %d bytes behind the last buffer", engine.ErrMessage, rest)
	}
	return nil
}

func pair(of []byte) (first, second int64) {
	return int64(binary.LittleEndian.Uint64(of)), int64(binary.LittleEndian.Uint64(of[8:]))
}

// lastOffsetOf is the last of the offsets of n values, which ascend from 0 or more.
func lastOffsetOf(offsets []byte, n, width int64) (int64, error) {
	if n == 0 {
		return 0, nil
	}
	if int64(len(offsets)) < (n+1)*width {
		return 0, fmt.Errorf("%d bytes of offsets for %d values", len(offsets), n)
	}
	last := int64(0)
	for ; n >= 0; n-- {
		next := int64(0)
		if width == 8 {
			next = int64(binary.LittleEndian.Uint64(offsets))
		} else {
			next = int64(int32(binary.LittleEndian.Uint32(offsets)))
		}
		if next < last {
			return 0, fmt.Errorf("its offsets are negative or descend: %d after %d", next, last)
		}
		last, offsets = next, offsets[width:]
	}
	return last, nil
}

// countBits counts the ones among the first n bits.
func countBits(bitmap []byte, n int64) int64 {
	ones := 0
	for _, b := range bitmap[:n/8] {
		ones += bits.OnesCount8(b)
	}
	if n%8 > 0 {
		ones += bits.OnesCount8(bitmap[n/8] & (1<<(n%8) - 1))
	}
	return int64(ones)
}
