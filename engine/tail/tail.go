package tail

import (
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
)

// Tail is the rows in memory. Its chunks are contiguous and in order. The zero value has no rows, and goes on at offset 0.
type Tail struct {
	chunks []Chunk
	next   int64 // offset after the last row; of the next one
	bytes  int64
}

// Of is a tail of chunks that end at an offset, for who reads them alone; they stay the caller's.
func Of(chunks []Chunk, end int64) *Tail { return &Tail{chunks: chunks, next: end} }

// Next is the offset after the last row, which the next one gets.
func (t *Tail) Next() int64 { return t.next }

// ContinueAt sets the offset of the next row. There must be no rows from there on, nor a hole before it.
func (t *Tail) ContinueAt(next int64) { t.next = next }

// Bytes is what the rows take.
func (t *Tail) Bytes() int64 { return t.bytes }

// Chunks are those of the tail, and stay its own.
func (t *Tail) Chunks() []Chunk { return t.chunks }

// Begin is the offset of the oldest row in memory, that of the next row if there is none.
func (t *Tail) Begin() int64 {
	if len(t.chunks) == 0 {
		return t.next
	}
	return t.chunks[0].First
}

// Push puts a record, whose reference it takes over, behind the rows there are. It returns the bytes that it takes.
func (t *Tail) Push(rec arrow.Record) (bytes int64) {
	bytes = batch.RowBytes(rec)
	t.chunks = append(t.chunks, Chunk{First: t.next, Record: rec})
	t.grow(rec.NumRows(), bytes)
	return bytes
}

// Pack puts a small message of so many rows, which is copied, behind the rows there are; its columns are those of schema. It returns
// the bytes that it takes, and whether a chunk of messages is full now.
func (t *Tail) Pack(columns *batch.MessageSchema, schema *arrow.Schema, message []byte, rows int64) (bytes int64, full bool) {
	bytes = int64(len(message))
	full = t.packedFor(columns, schema).add(message)
	t.grow(rows, bytes)
	return bytes, full
}

// grow has the last chunk end behind rows more.
func (t *Tail) grow(rows, bytes int64) {
	c := &t.chunks[len(t.chunks)-1]
	t.next += rows
	c.End = t.next
	c.Bytes += bytes
	t.bytes += bytes
}

// packedFor is where the next message goes, whose columns are those of schema: the last
// chunk, or a new one.
func (t *Tail) packedFor(columns *batch.MessageSchema, schema *arrow.Schema) *packed {
	if n := len(t.chunks); n > 0 {
		p := t.chunks[n-1].packed
		if p != nil && !p.full() && p.columns == columns && p.schema == schema {
			return p
		}
	}
	p := &packed{columns: columns, schema: schema}
	t.chunks = append(t.chunks, Chunk{First: t.next, packed: p})
	return p
}

// Full returns the oldest chunk of messages that is full, if there is one.
func (t *Tail) Full() (c Chunk, found bool) {
	i := slices.IndexFunc(t.chunks, func(c Chunk) bool { return c.packed != nil && c.packed.full() })
	if i < 0 {
		return Chunk{}, false
	}
	return t.chunks[i], true
}

// unpack makes a record of the chunk with index i if it is none.
func (t *Tail) unpack(i int) error {
	c := t.chunks[i]
	if c.packed == nil {
		return nil
	}
	rec, err := c.packed.record()
	if err != nil {
		return err
	}
	defer rec.Release()
	t.Replace([]Chunk{c}, rec)
	return nil
}

// find is the index of the chunk that holds the row at offset.
func (t *Tail) find(offset int64) int {
	return sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].End > offset })
}

// At returns the chunk that holds the row at offset, which must be in memory. Its record stays the tail's.
func (t *Tail) At(offset int64) (Chunk, error) {
	i := t.find(offset)
	err := t.unpack(i)
	return t.chunks[i], err
}

// Slice returns the rows [from, to), all of which must be in memory; the caller
// releases them.
func (t *Tail) Slice(from, to int64) ([]Chunk, error) {
	var out []Chunk
	for i := t.find(from); from < to; i++ {
		if err := t.unpack(i); err != nil {
			Release(out)
			return nil, err
		}
		c := t.chunks[i]
		end := min(c.End, to)
		part := Chunk{First: from, End: end}
		if from == c.First && end == c.End {
			// The very record, so that Replace can tell by its pointer that the chunk is still the one that was read.
			part = c
			part.Record.Retain()
		} else {
			part.Record = c.Record.NewSlice(from-c.First, end-c.First)
			part.Bytes = batch.RowBytes(part.Record)
		}
		out = append(out, part)
		from = end
	}
	return out, nil
}

// Replace puts joined, which has the same rows, in the place of the chunks that
// parts are, if they are all still there: they were read without the lock, and a
// flush may have dropped or a removal cut them meanwhile. Then nothing is lost but
// the work.
func (t *Tail) Replace(parts []Chunk, joined ...arrow.Record) {
	i := t.find(parts[0].First)
	if i+len(parts) > len(t.chunks) {
		return
	}
	old := t.chunks[i : i+len(parts)]
	for j := range parts {
		// The very chunks and not their offsets: one that was cut and filled again could have the
		// same.
		if old[j].First != parts[j].First || old[j].Record != parts[j].Record || old[j].packed != parts[j].packed {
			return
		}
	}
	first := parts[0].First
	chunks := make([]Chunk, len(joined))
	for j, rec := range joined {
		rec.Retain()
		chunks[j] = Chunk{First: first, End: first + rec.NumRows(), Record: rec, Bytes: batch.RowBytes(rec)}
		first = chunks[j].End
		t.bytes += chunks[j].Bytes
	}
	for _, o := range old {
		t.bytes -= o.Bytes
		o.release()
	}
	t.chunks = slices.Replace(t.chunks, i, i+len(parts), chunks...)
}

const (
	// settleCount batches of fewer rows than that become one batch.
	settleCount = 64
	settleBytes = 1 << 20 // unless they are larger than this together
)

// Settle joins the newest batches below end where they are many and small, so
// that single rows do not stay a batch each.
func (t *Tail) Settle(end int64) error {
	last := len(t.chunks)
	for last > 0 && (t.chunks[last-1].End > end || t.chunks[last-1].packed != nil) {
		last--
	}
	if last < settleCount {
		return nil
	}
	// Only the newest: those before were joined, or were too large to be, when they were the newest. So a row is copied once.
	small := t.chunks[last-settleCount : last]
	newest := small[settleCount-1].Record
	recs := make([]arrow.Record, 0, settleCount)
	var bytes int64
	for _, c := range slices.Backward(small) {
		bytes += c.Bytes
		if c.packed != nil || c.End-c.First >= settleCount || bytes > settleBytes || c.Record.Schema() != newest.Schema() {
			return nil
		}
	}
	for _, c := range small {
		recs = append(recs, c.Record)
	}
	joined, err := batch.Concat(newest.Schema(), recs)
	if err != nil {
		return err
	}
	defer joined.Release()
	t.Replace(slices.Clone(small), joined)
	return nil
}

// Evict drops the oldest chunks that lie wholly below the checkpoint until
// those that stay below it hold at most budget bytes.
func (t *Tail) Evict(checkpoint, budget int64) {
	var below int64
	keep := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].End > checkpoint })
	drop := keep
	for drop > 0 && below+t.chunks[drop-1].Bytes <= budget {
		drop--
		below += t.chunks[drop].Bytes
	}
	t.drop(drop)
}

// Clear forgets all rows. The next one gets the offset that it would have had.
func (t *Tail) Clear() { t.drop(len(t.chunks)) }

// drop forgets the oldest n chunks. Their places are cleared, as the array that they are in lives on with those behind them.
func (t *Tail) drop(n int) {
	for i := range n {
		t.bytes -= t.chunks[i].Bytes
		t.chunks[i].release()
		t.chunks[i] = Chunk{}
	}
	t.chunks = t.chunks[n:]
}

// Cut forgets the rows below offset.
func (t *Tail) Cut(offset int64) error {
	t.drop(t.find(offset))
	if len(t.chunks) == 0 || t.chunks[0].First >= offset {
		return nil
	}
	if err := t.unpack(0); err != nil {
		return err
	}
	c := t.chunks[0]
	t.chunks[0] = t.part(c, offset, c.End)
	return nil
}

// Trim forgets the rows from offset on.
func (t *Tail) Trim(offset int64) error {
	for t.next > offset && len(t.chunks) > 0 {
		last := len(t.chunks) - 1
		if c := t.chunks[last]; c.First >= offset {
			t.bytes -= c.Bytes
			c.release()
			t.chunks[last] = Chunk{} // as in drop
			t.chunks, t.next = t.chunks[:last], c.First
			continue
		}
		if err := t.unpack(last); err != nil {
			return err
		}
		c := t.chunks[last]
		t.chunks[last], t.next = t.part(c, c.First, offset), offset
	}
	return nil
}

// part is what is left of a chunk of which the other rows go.
func (t *Tail) part(c Chunk, first, end int64) Chunk {
	kept := Chunk{First: first, End: end, Record: c.Record.NewSlice(first-c.First, end-c.First)}
	kept.Bytes = batch.RowBytes(kept.Record)
	t.bytes += kept.Bytes - c.Bytes
	c.Record.Release()
	return kept
}

// BytesFrom is the size of the chunks that reach beyond offset.
func (t *Tail) BytesFrom(offset int64) int64 {
	var n int64
	for _, c := range t.chunks[t.find(offset):] {
		n += c.Bytes
	}
	return n
}
