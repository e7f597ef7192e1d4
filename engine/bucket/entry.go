package bucket

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
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
