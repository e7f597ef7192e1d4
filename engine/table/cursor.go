package table

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
)

// StreamRows is the number of rows of a batch that is read from the table.
const StreamRows = 8192

// Parts are what a cursor gives: the rows of the reader first, and then the batches.
type Parts struct {
	Schema  *arrow.Schema // of all batches; nil where there are no columns
	Version uint64        // of the schema
	Offsets []Run         // of all rows; nil for rows that were taken
	Reader  *lance.Reader // may be nil
	Unpin   func()        // called at the end of Reader
	Batches []arrow.Record
	Count   func(bytes int64) // is told what was read; may be nil
}

// Cursor gives the rows of one read, batch by batch.
type Cursor struct {
	mu     sync.Mutex
	p      Parts
	fault  func(error) error // gives an error of the reader its class; may be nil
	closed bool
}

// NewCursor takes over the parts.
func NewCursor(p Parts) *Cursor { return &Cursor{p: p} }

// Schema returns the columns of all batches of the cursor, nil when there
// were none, and the version of that schema.
func (c *Cursor) Schema() (*arrow.Schema, uint64) { return c.p.Schema, c.p.Version }

// Offsets returns the offsets of the rows of all batches of a read, in their order,
// as runs [first, end).
func (c *Cursor) Offsets() [][2]int64 { return c.p.Offsets }

// Next returns the next batch, which the caller releases, and io.EOF at the end.
func (c *Cursor) Next() (arrow.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec, err := c.next()
	if err == nil && c.p.Count != nil {
		c.p.Count(batch.RowBytes(rec))
	}
	return rec, err
}

// Each calls do with all batches, and with how many rows came before, and closes the cursor.
func (c *Cursor) Each(do func(rec arrow.Record, before int64) error) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	before := int64(0)
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = do(rec, before)
		before += rec.NumRows()
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func (c *Cursor) next() (arrow.Record, error) {
	if c.closed {
		return nil, engine.ErrClosed
	}
	if c.p.Reader != nil {
		rec, err := nextAligned(c.p.Reader, c.p.Schema)
		if err != nil && c.fault != nil && !errors.Is(err, io.EOF) {
			err = c.fault(err)
		}
		if !errors.Is(err, io.EOF) {
			return rec, err
		}
		if err := c.endReader(); err != nil {
			return nil, err
		}
	}
	if len(c.p.Batches) == 0 {
		return nil, io.EOF
	}
	// The reference goes with it.
	rec := c.p.Batches[0]
	c.p.Batches = c.p.Batches[1:]
	return rec, nil
}

func (c *Cursor) endReader() error {
	err := c.p.Reader.Close()
	c.p.Reader = nil
	// Right at the end of the reader, and not at Close: a cursor whose rows were all read holds no
	// version back from a clean-up, though its owner may keep it.
	c.p.Unpin()
	if err != nil {
		return fmt.Errorf("engine: read table: %w", err)
	}
	return nil
}

// Close ends the read.
func (c *Cursor) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return engine.ErrClosed
	}
	c.closed = true
	batch.ReleaseAll(c.p.Batches)
	c.p.Batches = nil
	if c.p.Reader != nil {
		return c.endReader()
	}
	return nil
}

func nextAligned(r *lance.Reader, schema *arrow.Schema) (arrow.Record, error) {
	rec, err := r.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("engine: read table: %w", err)
		}
		return nil, err
	}
	defer rec.Release()
	return batch.Align(rec, schema)
}
