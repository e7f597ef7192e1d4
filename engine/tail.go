package engine

import (
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
)

// chunk is a batch of rows in memory, at the offsets [first, end).
type chunk struct {
	first, end int64
	rec        arrow.Record
	bytes      int64
}

// tail is the rows in memory: the unflushed ones and, below them, recent ones
// that are in Lance as well. Its chunks are contiguous and in order. The
// bucket's lock guards it.
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

// push takes over a reference to rec, whose first row is row t.next.
func (t *tail) push(rec arrow.Record) {
	c := chunk{first: t.next, end: t.next + rec.NumRows(), rec: rec, bytes: rowBytes(rec)}
	t.chunks = append(t.chunks, c)
	t.next = c.end
	t.bytes += c.bytes
}

// find is the index of the chunk that holds the row at offset.
func (t *tail) find(offset int64) int {
	return sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].end > offset })
}

// slice returns the rows [from, to), all of which must be in memory; the caller
// releases them.
func (t *tail) slice(from, to int64) []chunk {
	var out []chunk
	for i := t.find(from); from < to; i++ {
		c := t.chunks[i]
		end := min(c.end, to)
		part := chunk{first: from, end: end}
		if from == c.first && end == c.end {
			part = c
			part.rec.Retain()
		} else {
			part.rec = c.rec.NewSlice(from-c.first, end-c.first)
			part.bytes = rowBytes(part.rec)
		}
		out = append(out, part)
		from = end
	}
	return out
}

// replace puts joined in the place of the chunks that parts are, if they are
// all still there.
func (t *tail) replace(parts []chunk, joined arrow.Record) {
	i := t.find(parts[0].first)
	if i+len(parts) > len(t.chunks) {
		return
	}
	old := t.chunks[i : i+len(parts)]
	for j := range parts {
		if old[j].first != parts[j].first || old[j].rec != parts[j].rec {
			return
		}
	}
	joined.Retain()
	c := chunk{first: parts[0].first, end: parts[len(parts)-1].end, rec: joined, bytes: rowBytes(joined)}
	for _, o := range old {
		t.bytes -= o.bytes
		o.rec.Release()
	}
	t.bytes += c.bytes
	t.chunks = slices.Replace(t.chunks, i, i+len(parts), c)
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
	for last > 0 && t.chunks[last-1].end > end {
		last--
	}
	if last < settleCount {
		return nil
	}
	small := t.chunks[last-settleCount : last]
	schema := small[0].rec.Schema()
	recs := make([]arrow.Record, 0, settleCount)
	var bytes int64
	for _, c := range slices.Backward(small) {
		bytes += c.bytes
		if c.end-c.first >= settleCount || bytes > settleBytes || c.rec.Schema() != schema {
			return nil
		}
	}
	for _, c := range small {
		recs = append(recs, c.rec)
	}
	joined, err := concat(schema, recs)
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

func (t *tail) drop(n int) {
	for i := range n {
		t.bytes -= t.chunks[i].bytes
		t.chunks[i].rec.Release()
		t.chunks[i] = chunk{}
	}
	t.chunks = t.chunks[n:]
}

// truncate forgets the rows from offset end on.
func (t *tail) truncate(end int64) {
	n := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].end > end })
	for _, c := range t.chunks[n:] {
		t.bytes -= c.bytes
		c.rec.Release()
	}
	clear(t.chunks[n:])
	t.chunks = t.chunks[:n]
	t.next = min(t.next, end)
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
