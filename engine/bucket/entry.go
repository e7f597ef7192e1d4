package bucket

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/wal/segment"
)

// entry is the rows of an append, with the columns of the bucket: a record or a
// message for the tail, and what the log gets for them.
type entry struct {
	rows    int64
	record  arrow.Record // whose reference the entry has; nil for a message
	message Message
	body    [][]byte
}

func (e *entry) retain() {
	if e.record != nil {
		e.record.Retain()
	}
}

func (e *entry) release() {
	if e.record != nil {
		e.record.Release()
	}
}

// Record is the rows of a record, to whose columns the bucket keeps references.
type Record struct {
	Rows    arrow.Record
	Checked bool // whether [Bucket.Check] found nothing wrong with it
}

func (r Record) check() (int64, error) {
	if r.Checked {
		return r.Rows.NumRows(), nil
	}
	return r.Rows.NumRows(), checkValues(r.Rows)
}

// Message is the rows of a record batch message of the Arrow IPC stream format, without compression, which is copied.
type Message struct {
	Columns *batch.MessageSchema
	Bytes   []byte
}

func (m Message) check() (int64, error) { return m.Columns.Check(m.Bytes) }

func checkValues(rec arrow.Record) error {
	if err := lance.CheckValues(rec); err != nil {
		return &engine.SchemaError{Reason: err.Error()}
	}
	return nil
}

// survivors are rows that the table lacks.
type survivors struct {
	first int64
	rec   arrow.Record
}

// decodeEntry returns the rows of an entry of the log. The caller releases them.
func decodeEntry(d *batch.Decoder, e segment.Entry) (arrow.Record, error) {
	rec, err := d.Decode(e.Preamble, e.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: log entry at offset %d: %w", engine.ErrCorrupt, e.First, err)
	}
	if rec.NumRows() != e.Rows {
		rec.Release()
		return nil, fmt.Errorf("%w: log entry at offset %d has %d rows, its header says %d", engine.ErrCorrupt, e.First, rec.NumRows(), e.Rows)
	}
	return rec, nil
}
