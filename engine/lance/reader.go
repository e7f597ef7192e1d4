package lance

// #include "persisting_native.h"
import "C"

import (
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Reader is a stream of batches.
type Reader struct {
	dir    string
	schema *arrow.Schema

	mu     sync.Mutex
	handle readerHandle // nil once closed or ended
	err    error        // why it ended
}

// Schema returns the schema of the batches.
func (r *Reader) Schema() *arrow.Schema { return r.schema }

// Next returns the next batch, which the caller releases, or io.EOF at the end.
// After an error the reader has ended.
func (r *Reader) Next() (arrow.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handle == nil {
		return nil, r.err
	}
	record, err := nativeRecord("read", r.schema, func(out *C.struct_ArrowArray, e *owned) status {
		return C.pn_reader_next(r.handle, out, e)
	})
	if record == nil && err == nil {
		err = io.EOF
	}
	if err != nil {
		// Freed at its end and not at Close: a reader pins files, and whoever has read all of them
		// may keep it.
		r.end(in(r.dir, err))
		return nil, r.err
	}
	return record, nil
}

// Close frees the reader; batches stay valid. Closing twice is nothing.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handle != nil {
		r.end(ErrClosed)
	}
	return nil
}

func (r *Reader) end(err error) {
	C.pn_reader_close(r.handle, nil)
	r.handle, r.err = nil, err
}

func emptyRecord(schema *arrow.Schema) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	return b.NewRecord()
}
