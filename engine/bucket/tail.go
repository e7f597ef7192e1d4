package bucket

import (
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/batch"
)

// chunk is a batch of rows in memory, at the offsets [first, end): a record, or
// messages that nobody has read yet.
type chunk struct {
	first, end int64
	rec        arrow.Record
	packed     *packed // nil if rec is not
	bytes      int64
}

func (c *chunk) release() {
	if c.rec != nil {
		c.rec.Release()
	}
}

// packed is small messages in a row, as they were put. To make columns of each
// when it comes would cost most of the time of a put: one writer that calls the engine
// puts 27,271 records a second so, and 12,765 without (2.0 times); 64 durable ones 21,755
// and 12,817 (1.8 times; medians of four pairs of processes in turns, on two processors).
type packed struct {
	columns *batch.MessageSchema
	schema  *arrow.Schema // of the bucket, which has the same columns
	bytes   []byte
	ends    []int // in bytes
}

const (
	packedBytes = 4 << 10 // messages of less are packed
	packedCount = 256     // of them
)

func (p *packed) full() bool { return len(p.ends) == packedCount }

// add copies a message, and says whether no more go in.
func (p *packed) add(message []byte) (full bool) {
	p.bytes = append(p.bytes, message...)
	p.ends = append(p.ends, len(p.bytes))
	return p.full()
}

// record makes one batch of the messages. The caller releases it.
func (p *packed) record() (arrow.Record, error) {
	messages, from := make([][]byte, len(p.ends)), 0
	for i, end := range p.ends {
		messages[i], from = p.bytes[from:end], end
	}
	joined, err := p.columns.Join(messages)
	if err != nil {
		return nil, err
	}
	defer joined.Release()
	return array.NewRecord(p.schema, joined.Columns(), joined.NumRows()), nil
}

// tail is the rows in memory: the unflushed ones and, below them, recent ones
// that are in Lance as well. Its chunks are contiguous and in order. The
// lock of rows guards it.
type tail struct {
	chunks []chunk
	next   int64 // offset after the last row; of the next one
	bytes  int64
}

// begin is the offset of the oldest row in memory, next if there is none.
func (t *tail) begin() int64 {
	if len(t.chunks) == 0 {
		return t.next
	}
	return t.chunks[0].first
}

// push takes over an entry, whose first row is row t.next. It returns the bytes that it
// takes, and whether a chunk of messages is full now.
func (t *tail) push(e entry, schema *arrow.Schema) (bytes int64, full bool) {
	if e.record != nil {
		bytes = batch.RowBytes(e.record)
		t.chunks = append(t.chunks, chunk{first: t.next, rec: e.record})
	} else {
		bytes = int64(len(e.message.Bytes))
		full = t.packedFor(e.message.Columns, schema).add(e.message.Bytes)
	}
	c := &t.chunks[len(t.chunks)-1]
	t.next += e.rows
	c.end = t.next
	c.bytes += bytes
	t.bytes += bytes
	return bytes, full
}

// packedFor is where the next message goes, whose columns are those of schema: the last
// chunk, or a new one.
func (t *tail) packedFor(columns *batch.MessageSchema, schema *arrow.Schema) *packed {
	if n := len(t.chunks); n > 0 {
		p := t.chunks[n-1].packed
		if p != nil && !p.full() && p.columns == columns && p.schema == schema {
			return p
		}
	}
	p := &packed{columns: columns, schema: schema}
	t.chunks = append(t.chunks, chunk{first: t.next, packed: p})
	return p
}

// unpack makes a record of the chunk with index i if it is none.
func (t *tail) unpack(i int) error {
	c := &t.chunks[i]
	if c.packed == nil {
		return nil
	}
	rec, err := c.packed.record()
	if err != nil {
		return err
	}
	defer rec.Release()
	t.replace([]chunk{*c}, rec)
	return nil
}

// find is the index of the chunk that holds the row at offset.
func (t *tail) find(offset int64) int {
	return sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].end > offset })
}

// slice returns the rows [from, to), all of which must be in memory; the caller
// releases them.
func (t *tail) slice(from, to int64) ([]chunk, error) {
	var out []chunk
	for i := t.find(from); from < to; i++ {
		if err := t.unpack(i); err != nil {
			release(out)
			return nil, err
		}
		c := t.chunks[i]
		end := min(c.end, to)
		part := chunk{first: from, end: end}
		if from == c.first && end == c.end {
			part = c
			part.rec.Retain()
		} else {
			part.rec = c.rec.NewSlice(from-c.first, end-c.first)
			part.bytes = batch.RowBytes(part.rec)
		}
		out = append(out, part)
		from = end
	}
	return out, nil
}

// replace puts joined, which has the same rows, in the place of the chunks that
// parts are, if they are all still there: they were read without the lock, and a
// flush may have dropped or a removal cut them meanwhile. Then nothing is lost but
// the work.
func (t *tail) replace(parts []chunk, joined ...arrow.Record) {
	i := t.find(parts[0].first)
	if i+len(parts) > len(t.chunks) {
		return
	}
	old := t.chunks[i : i+len(parts)]
	for j := range parts {
		if old[j].first != parts[j].first || old[j].rec != parts[j].rec || old[j].packed != parts[j].packed {
			return
		}
	}
	first := parts[0].first
	chunks := make([]chunk, len(joined))
	for j, rec := range joined {
		rec.Retain()
		chunks[j] = chunk{first: first, end: first + rec.NumRows(), rec: rec, bytes: batch.RowBytes(rec)}
		first = chunks[j].end
		t.bytes += chunks[j].bytes
	}
	for _, o := range old {
		t.bytes -= o.bytes
		o.release()
	}
	t.chunks = slices.Replace(t.chunks, i, i+len(parts), chunks...)
}

// coalesceBytes is the size from which a batch is not copied to be joined.
const coalesceBytes = 4 << 20

// joinChunks makes batches of neighbours, all but the last of at least so many
// rows. The caller releases them.
func joinChunks(schema *arrow.Schema, chunks []chunk, rows int64) ([]arrow.Record, error) {
	var out []arrow.Record
	for len(chunks) > 0 {
		n, sum := 1, chunks[0].rec.NumRows()
		for n < len(chunks) && sum < rows {
			sum += chunks[n].rec.NumRows()
			n++
		}
		recs, err := alignAll(chunks[:n], schema)
		var joined arrow.Record
		if err == nil {
			joined, err = batch.Concat(schema, recs)
			batch.ReleaseAll(recs)
		}
		if err != nil {
			batch.ReleaseAll(out)
			return nil, err
		}
		out = append(out, joined)
		chunks = chunks[n:]
	}
	return out, nil
}

const (
	// settleCount batches of fewer rows than that become one batch.
	settleCount = 64
	settleBytes = 1 << 20 // unless they are larger than this together
)

// settle joins the newest batches below end where they are many and small, so
// that single rows do not stay a batch each.
func (t *tail) settle(end int64) error {
	last := len(t.chunks)
	for last > 0 && (t.chunks[last-1].end > end || t.chunks[last-1].packed != nil) {
		last--
	}
	if last < settleCount {
		return nil
	}
	// Only the newest: those before were joined, or were too large to be, when they were the newest. So a row is copied once.
	small := t.chunks[last-settleCount : last]
	newest := small[settleCount-1].rec
	recs := make([]arrow.Record, 0, settleCount)
	var bytes int64
	for _, c := range slices.Backward(small) {
		bytes += c.bytes
		if c.packed != nil || c.end-c.first >= settleCount || bytes > settleBytes || c.rec.Schema() != newest.Schema() {
			return nil
		}
	}
	for _, c := range small {
		recs = append(recs, c.rec)
	}
	joined, err := batch.Concat(newest.Schema(), recs)
	if err != nil {
		return err
	}
	defer joined.Release()
	t.replace(slices.Clone(small), joined)
	return nil
}

// evict drops the oldest chunks that lie wholly below the checkpoint until
// those that stay below it hold at most budget bytes.
func (t *tail) evict(checkpoint, budget int64) {
	var below int64
	keep := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].end > checkpoint })
	drop := keep
	for drop > 0 && below+t.chunks[drop-1].bytes <= budget {
		drop--
		below += t.chunks[drop].bytes
	}
	t.drop(drop)
}

// drop forgets the oldest n chunks. Their places are cleared, as the array that they are in lives on with those behind them.
func (t *tail) drop(n int) {
	for i := range n {
		t.bytes -= t.chunks[i].bytes
		t.chunks[i].release()
		t.chunks[i] = chunk{}
	}
	t.chunks = t.chunks[n:]
}

// cut forgets the rows below offset.
func (t *tail) cut(offset int64) error {
	t.drop(t.find(offset))
	if len(t.chunks) == 0 || t.chunks[0].first >= offset {
		return nil
	}
	if err := t.unpack(0); err != nil {
		return err
	}
	whole := t.chunks[0]
	part := chunk{first: offset, end: whole.end, rec: whole.rec.NewSlice(offset-whole.first, whole.end-whole.first)}
	part.bytes = batch.RowBytes(part.rec)
	t.chunks[0] = part
	t.bytes += part.bytes - whole.bytes
	whole.release()
	return nil
}

// trim forgets the rows from offset on.
func (t *tail) trim(offset int64) error {
	for t.next > offset && len(t.chunks) > 0 {
		last := len(t.chunks) - 1
		if err := t.unpack(last); err != nil {
			return err
		}
		t.undo(max(offset, t.chunks[last].first))
	}
	return nil
}

// undo takes the last push or pack back, whose rows are those from end on.
func (t *tail) undo(end int64) {
	last := len(t.chunks) - 1
	c := t.chunks[last]
	t.bytes -= c.bytes
	t.chunks[last] = chunk{}
	t.chunks = t.chunks[:last]
	t.next = end
	if c.first < end {
		kept := chunk{first: c.first, end: end}
		if p := c.packed; p != nil {
			n := len(p.ends) - 1
			kept.bytes = int64(p.ends[n-1])
			kept.packed = &packed{p.columns, p.schema, slices.Clip(p.bytes[:kept.bytes]), slices.Clip(p.ends[:n])}
		} else {
			kept.rec = c.rec.NewSlice(0, end-c.first)
			kept.bytes = batch.RowBytes(kept.rec)
		}
		t.bytes += kept.bytes
		t.chunks = append(t.chunks, kept)
	}
	c.release()
}

// bytesFrom is the size of the chunks that reach beyond offset.
func (t *tail) bytesFrom(offset int64) int64 {
	var n int64
	for _, c := range t.chunks[t.find(offset):] {
		n += c.bytes
	}
	return n
}

func release(chunks []chunk) {
	for _, c := range chunks {
		c.rec.Release()
	}
}

// alignAll aligns the batches of chunks. The caller releases the result.
func alignAll(chunks []chunk, schema *arrow.Schema) ([]arrow.Record, error) {
	recs := make([]arrow.Record, 0, len(chunks))
	for _, c := range chunks {
		rec, err := batch.Align(c.rec, schema)
		if err != nil {
			batch.ReleaseAll(recs)
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}
