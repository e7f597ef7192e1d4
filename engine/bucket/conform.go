package bucket

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/tail"
)

// Batch is rows that can be appended: a [Record] or a [Message].
type Batch interface {
	// check says how many rows there are, or what no bucket would take of them.
	check() (rows int64, err error)
	// entry gives them the columns of the bucket. The caller holds in.appending.
	entry(in *ingest, rows int64, noWait bool) (entry, error)
}

func (r Record) entry(in *ingest, _ int64, noWait bool) (entry, error) {
	return in.align(r.Rows, nil, noWait)
}

func (m Message) entry(in *ingest, rows int64, noWait bool) (entry, error) {
	if len(m.Bytes) < tail.PackedBytes && in.takesMessages(m.Columns) {
		return entry{rows: rows, message: m, body: [][]byte{m.Bytes}}, nil
	}
	// Copied, as the caller has its memory back when the call returns.
	rec, body, err := m.Columns.Copy(m.Bytes)
	if err != nil {
		return entry{}, err
	}
	defer rec.Release()
	// The check of a message looks at what makes it unreadable, and not at nulls inside columns.
	if m.Columns.Strict {
		if err := checkValues(rec); err != nil {
			return entry{}, err
		}
	}
	return in.align(rec, body, noWait)
}

// align makes an entry of a record. Body is what the log would get for it as it is,
// nil if that is not known. The caller holds in.appending.
func (in *ingest) align(rec arrow.Record, body [][]byte, noWait bool) (entry, error) {
	aligned, err := in.conform(rec, noWait)
	if err != nil {
		return entry{}, err
	}
	if !in.fit(rec.Schema()) {
		body = nil // which has other columns than the log's preamble will say
	}
	err = in.declared.CheckRequired(aligned)
	if err == nil && body == nil && in.log != nil {
		body, err = in.encoder.Encode(aligned)
	}
	if err != nil {
		aligned.Release()
		return entry{}, err
	}
	return entry{rows: aligned.NumRows(), record: aligned, body: body}, nil
}

// conform changes the schema of the bucket as rec needs and returns rec with
// the bucket's columns. The caller holds in.appending and releases the result.
func (in *ingest) conform(rec arrow.Record, noWait bool) (arrow.Record, error) {
	if in.fit(rec.Schema()) {
		return array.NewRecord(in.rows.schema, rec.Columns(), rec.NumRows()), nil
	}
	c, err := batch.Unify(in.rows.schema, rec.Schema())
	if err != nil {
		return nil, err
	}
	if err := in.declared.Check(in.rows.schema, rec, c); err != nil {
		return nil, err
	}
	switch {
	case c.Schema == nil:
		return nil, batch.NoColumn()
	case len(c.Casts) > 0 && noWait: // a cast rewrites a column of the whole table
		return nil, engine.ErrWouldBlock
	case len(c.Casts) > 0:
		if err := in.promote(c.Casts); err != nil {
			return nil, err
		}
	}
	// Aligned before the schema is taken over: a batch that fails here has changed nothing.
	aligned, err := batch.Align(rec, c.Schema)
	if err != nil {
		return nil, err
	}
	if err := in.useSchema(c.Schema); err != nil {
		aligned.Release()
		return nil, err
	}
	if !c.None() {
		in.rows.mu.Lock()
		in.rows.setSchema(c.Schema)
		in.rows.mu.Unlock()
	}
	if batch.SameColumns(rec.Schema(), in.rows.schema) {
		in.fits, in.fitted = rec.Schema(), in.rows.schema
	}
	return aligned, nil
}

// promote gives columns of the rows that the bucket holds another type, all of
// them or none. All rows move into Lance first, so that only one place has to
// change.
func (in *ingest) promote(casts []arrow.Field) error {
	for _, to := range casts {
		if err := in.table.CheckUnindexed(to.Name, "its type changes"); err != nil {
			return err
		}
	}
	return in.flusher.still(func() error {
		before := in.rows.schema
		for i, to := range casts {
			// A version for each column, as Lance casts one at a time. A crash in between leaves a bucket of which some are cast: a
			// sound one, as the append that asked for it was not acknowledged.
			if err := in.cast(to); err != nil {
				for _, done := range casts[:i] {
					// What was exact one way is exact the other way.
					err = errors.Join(err, in.cast(batch.ColumnOf(before, done.Name)))
				}
				return err
			}
		}
		return nil
	})
}

// cast promotes a column of the table. The caller holds in.table.Growing and
// in.table.Reshaping, and all rows are in the table.
func (in *ingest) cast(to arrow.Field) error {
	snapshot, err := in.table.Cast(to)
	if errors.Is(err, lance.ErrInexact) {
		have := batch.ColumnOf(in.rows.schema, to.Name)
		return &engine.SchemaError{Column: to.Name, Reason: fmt.Sprintf("is %s and holds values that %s cannot hold exactly", batch.TypeName(have), batch.TypeName(to))}
	}
	if err != nil || snapshot == nil {
		return err
	}
	fields := slices.Clone(in.rows.schema.Fields())
	fields[in.rows.schema.FieldIndices(to.Name)[0]] = to
	in.rows.mu.Lock()
	defer in.rows.mu.Unlock()
	in.rows.install(snapshot, in.rows.checkpoint)
	// Rows in memory have the old type, and are in the table: reads take them from there.
	in.rows.tail.Evict(in.rows.checkpoint, 0)
	in.rows.setSchema(arrow.NewSchema(fields, nil))
	return nil
}
