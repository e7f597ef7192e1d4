package bucket

import (
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/ring"
)

// ingest takes rows from callers, one append after the other, and gives them their offsets.
type ingest struct {
	*core
	rows           *rows
	flusher        *flusher
	follower       *follower                 // where another process has the bucket; nothing is taken then
	ring           atomic.Pointer[ring.Ring] // of puts that did not call the engine; nil until there is one
	drainRequested chan struct{}             // asks to look into the ring

	// appending orders appends: the schema, the encoder, the offsets, and what is taken out of the ring. It guards what follows.
	appending  sync.Mutex
	ringSchema *batch.MessageSchema
	draining   atomic.Bool // who has it takes puts over
	encoder    *batch.Encoder
	compressor *batch.Compressor // of log entries; nil for none
	// The last batch that had just the columns of the bucket, by its schema, and that of the bucket then. Schemas are compared by
	// their pointers: callers put with one schema again and again, and to compare columns would cost more than the put of a row.
	fits, fitted *arrow.Schema
	declared     batch.Declared
}

// useSchema has the encoder of the log be one for batches of schema. It is called before a batch is the
// first to fit, so that the encoder is right for every batch that does.
func (in *ingest) useSchema(schema *arrow.Schema) (err error) {
	if in.log != nil && (in.encoder == nil || in.encoder.Schema != schema) {
		in.encoder, err = batch.NewEncoder(schema)
	}
	return err
}

// fit says that a schema has just the columns of the bucket, as far as that is
// known. The caller holds in.appending.
func (in *ingest) fit(schema *arrow.Schema) bool {
	// The bucket's schema is compared as well, by its pointer: setSchema makes another with each
	// change.
	return in.rows.schema != nil && in.fitted == in.rows.schema && in.fits == schema
}

// takesMessages says that messages of these columns can be kept as they are: nothing in them has to be looked at, changed or
// counted.
func (in *ingest) takesMessages(columns *batch.MessageSchema) bool {
	return in.fit(columns.Schema) && !in.declared.Requires() && !columns.Strict
}

// declare lets appends have more columns, if they may not have any. The caller
// holds in.appending.
func (in *ingest) declare(fields ...arrow.Field) {
	in.declared.Add(fields...)
	in.fits = nil // a batch without the new column may no longer be one that fits
}
