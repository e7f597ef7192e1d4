package tail

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
)

// Chunk is a batch of rows in memory, at the offsets [First, End): a record, or
// messages that nobody has read yet.
type Chunk struct {
	First, End int64
	Record     arrow.Record // nil for messages; what [Tail.Slice] returns has one
	Bytes      int64
	packed     *packed // nil where there is a record
}

// Unpack makes a record of the messages of a chunk that is full. It needs no lock: nothing is added to such a chunk any more. The
// caller releases the record.
func (c *Chunk) Unpack() (arrow.Record, error) { return c.packed.record() }

func (c *Chunk) release() {
	if c.Record != nil {
		c.Record.Release()
	}
}

// Release lets go of the records of chunks that came from [Tail.Slice].
func Release(chunks []Chunk) {
	for _, c := range chunks {
		c.Record.Release()
	}
}

// Align gives the rows of chunks the columns of schema, a batch for each. The caller releases the result.
func Align(chunks []Chunk, schema *arrow.Schema) ([]arrow.Record, error) {
	recs := make([]arrow.Record, 0, len(chunks))
	for _, c := range chunks {
		rec, err := batch.Align(c.Record, schema)
		if err != nil {
			batch.ReleaseAll(recs)
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// coalesceBytes is the size from which a batch is not copied to be joined: a flush writes it as well alone, and to copy it would
// need its memory twice.
const coalesceBytes = 4 << 20

// Coalesce gives chunks the columns of schema, and joins neighbours until none has fewer than rows rows, as far as that goes without
// copying large batches. It takes over the references to chunks; the caller releases the result. What became fewer is told to joined
// piece by piece, so that a tail can have it in place of the parts at once, and nothing is in memory twice for long.
func Coalesce(schema *arrow.Schema, chunks []Chunk, rows int64, joined func(parts []Chunk, records []arrow.Record)) ([]arrow.Record, error) {
	var out []arrow.Record
	for len(chunks) > 0 {
		n, bytes := 0, int64(0)
		for n < len(chunks) && bytes < coalesceBytes {
			bytes += chunks[n].Bytes
			n++
		}
		made, err := join(schema, chunks[:n], rows)
		if err != nil {
			Release(chunks)
			batch.ReleaseAll(out)
			return nil, fmt.Errorf("engine: join batches: %w", err)
		}
		out = append(out, made...)
		if len(made) < n {
			joined(chunks[:n], made)
		}
		Release(chunks[:n])
		chunks = chunks[n:]
	}
	return out, nil
}

// join makes batches of neighbours, all but the last of at least so many
// rows. The caller releases them.
func join(schema *arrow.Schema, chunks []Chunk, rows int64) ([]arrow.Record, error) {
	var out []arrow.Record
	for len(chunks) > 0 {
		n, sum := 1, chunks[0].Record.NumRows()
		for n < len(chunks) && sum < rows {
			sum += chunks[n].Record.NumRows()
			n++
		}
		// Columns that came later are null in rows of before, of which the chunks know nothing.
		recs, err := Align(chunks[:n], schema)
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
