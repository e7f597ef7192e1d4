package bucket

import (
	"fmt"
	"os"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/statefile"
)

// replay puts rows that the table lacks into the tail.
func (in *ingest) replay(rows []survivors) error {
	for _, r := range rows {
		// Only a salvage comes here with a hole: else the survey has refused it.
		if hole := r.first - in.rows.tail.Next(); hole > 0 {
			if err := in.fill(r.rec.Schema(), hole); err != nil {
				return err
			}
		}
		if err := in.enter(r.rec); err != nil {
			return err
		}
	}
	return nil
}

// enter puts a batch into the tail without writing it to the log.
func (in *ingest) enter(rec arrow.Record) error {
	aligned, err := in.conform(rec, false)
	if err != nil {
		return err
	}
	in.rows.mu.Lock()
	defer in.rows.mu.Unlock()
	in.rows.push(entry{rows: aligned.NumRows(), record: aligned})
	return nil
}

// fill puts rows that are null in every column where a salvaged log has a hole,
// so that the rows behind it keep their offsets.
func (in *ingest) fill(schema *arrow.Schema, rows int64) error {
	columns := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		columns[i] = batch.NullArray(f, rows)
		defer columns[i].Release()
	}
	empty := array.NewRecord(schema, columns, rows)
	defer empty.Release()
	return in.enter(empty)
}

// replayPuts stores entries that follow on the log.
func (in *ingest) replayPuts(preamble []byte, entries []ring.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var d batch.Decoder
	defer d.Close()
	for _, e := range entries {
		rec, err := d.Decode(preamble, e.Message)
		if err != nil {
			return fmt.Errorf("engine: recover puts: %w", err)
		}
		err = in.enter(rec)
		rec.Release()
		if err != nil {
			return err
		}
		if _, err := in.log.Append(preamble, in.compressor.Compress([][]byte{e.Message}), e.Rows, nil); err != nil {
			return in.writeError(err)
		}
	}
	return in.flusher.syncLog() // the ring has the only copy until then, and is emptied next
}

// replayRing brings into the log what the last opener left in the ring.
func (op *opening) replayRing(s *survey) error {
	if !s.hasRing {
		return nil
	}
	before := op.rows.tail.Next()
	if err := op.ingest.replayPuts(s.preamble, s.entries); err != nil {
		return err
	}
	if rows := op.rows.tail.Next() - before; rows > 0 {
		op.recovered.replayed += rows
		op.logger.Info("recovered puts that were not in the log", "rows", rows)
	}
	// The rows are in the log, and the file goes: not that of a bucket which was made in this
	// directory meanwhile.
	if err := op.home.Owned(); err != nil {
		return err
	}
	if s.ringFault == nil {
		return os.Remove(op.ringPath())
	}
	op.logger.Error("puts that were acknowledged are lost", "error", s.ringFault)
	return statefile.KeepBroken(op.ringPath())
}
