package bucket

import (
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/metrics"
)

// Stats is the state of a bucket.
type Stats struct {
	Path           string            `json:"storage_path"`
	BufferSize     int64             `json:"buffer_size"`     // acknowledged rows that are not in Lance
	PersistedCount int64             `json:"persisted_count"` // rows durably in Lance
	TotalCount     int64             `json:"total_count"`     // acknowledged rows, those removed since among them
	RowCount       int64             `json:"row_count"`       // rows that are left
	FirstOffset    int64             `json:"first_offset"`    // of the first of them, or of the next row
	WALEnabled     bool              `json:"wal_enabled"`
	WALBytes       int64             `json:"wal_bytes"`
	WALSegments    int               `json:"wal_segments"`
	BufferBytes    int64             `json:"buffer_bytes"` // of the rows that are not in Lance
	MemoryBytes    int64             `json:"memory_bytes"` // of all rows in memory
	TableVersion   uint64            `json:"table_version"`
	Fragments      int               `json:"fragments"`
	TableBytes     int64             `json:"table_bytes"`         // of the data files
	WriteError     *string           `json:"write_error"`         // why writes are refused, or the last flush failed; null
	InUseBy        *string           `json:"in_use_by,omitempty"` // who has a bucket that is open for reading; absent: nobody, or this opener
	Recovery       Recovery          `json:"recovery"`
	Retention      Retention         `json:"retention"`
	Metrics        *metrics.Snapshot `json:"metrics,omitempty"`
}

// Recovery is what the opening of a bucket found and put in order.
type Recovery struct {
	Replayed  int64      `json:"replayed_records"` // from the log
	TornBytes int64      `json:"torn_bytes"`       // cut off the end of the log
	Healed    int        `json:"healed_manifests"` // versions of the table that were set aside
	Missing   [][2]int64 `json:"missing_rows"`     // that a salvage did not find, [first, end); an end below 0 is not known
}

// Retention is what retention has removed since the bucket was opened.
type Retention struct {
	Rows  int64 `json:"removed_records"`
	Bytes int64 `json:"removed_bytes"` // that they took in the data files
}

// Stats returns the state of the bucket. It does not wait for a disk.
func (b *Bucket) Stats() Stats {
	_ = b.ingest.glance() // a read says what is wrong
	state := b.rows.state()
	s := Stats{
		Path:           b.home.Path,
		BufferSize:     state.unflushedRows,
		PersistedCount: state.checkpoint,
		TotalCount:     state.checkpoint + state.unflushedRows,
		RowCount:       state.rows + state.unflushedRows,
		FirstOffset:    state.first,
		WALEnabled:     b.log != nil,
		WALBytes:       b.walBytes(),
		BufferBytes:    state.unflushedBytes,
		MemoryBytes:    state.memory,
		TableVersion:   state.version,
		Fragments:      state.fragments,
		TableBytes:     state.tableBytes,
		Recovery:       b.recovered.report(),
		Retention:      Retention{Rows: b.upkeep.retained.rows.Load(), Bytes: b.upkeep.retained.bytes.Load()},
		Metrics:        b.metrics.Snapshot(),
	}
	if b.log != nil {
		s.WALSegments = b.log.Segments()
	}
	if f := b.ingest.follower; f != nil {
		s.WALEnabled, s.WALBytes, s.WALSegments = f.logging()
		if holder, err := statefile.HolderOf(b.home.Path); err == nil && holder != "" {
			s.InUseBy = &holder
		}
	}
	// Why writes are refused counts before how the last flush ended, of which it mostly is the
	// reason.
	err := b.writable()
	if err == nil {
		err = b.flusher.lastError()
	}
	if err != nil {
		text := err.Error()
		s.WriteError = &text
	}
	return s
}

func (r *recovered) report() Recovery {
	missing := make([][2]int64, len(r.missing))
	for i, m := range r.missing {
		missing[i] = [2]int64{m.First, m.End}
	}
	return Recovery{Replayed: r.replayed, TornBytes: r.torn, Healed: r.versionsSetAside, Missing: missing}
}
