package metrics

// Snapshot is the counts of a bucket at one moment, since it was opened. The names are those of stats()["metrics"]
// in Python, which programs read: there may be more of them, and none is changed.
type Snapshot struct {
	PutCount        int64   `json:"put_count"`           // records
	PutBytes        int64   `json:"put_bytes"`           // of those, as held in memory
	Appends         int64   `json:"append_count"`        // batches that held them
	GetCount        int64   `json:"get_count"`           // reads
	RecordsRead     int64   `json:"records_read"`        // records
	BytesRead       int64   `json:"bytes_read"`          // of those, as held in memory
	FlushCount      int64   `json:"flush_count"`         // flushes that succeeded
	FlushSeconds    float64 `json:"flush_seconds"`       // in all
	FlushErrors     int64   `json:"flush_errors"`        // flushes that failed
	LastFlushTime   float64 `json:"last_flush_time"`     // Unix seconds; 0 before the first
	CompactionCount int64   `json:"compaction_count"`    // compactions that succeeded
	CompactionFails int64   `json:"compaction_errors"`   // compactions that failed
	Errors          int64   `json:"error_count"`         // operations of any kind that failed
	BytesWritten    int64   `json:"bytes_written"`       // to the log and to Lance
	Amplification   float64 `json:"write_amplification"` // bytes written per byte put; 0 before the first put
	WALSyncCount    int64   `json:"wal_sync_count"`      // fdatasync calls
	HeldBack        int64   `json:"backpressure_count"`
	HeldBackSeconds float64 `json:"backpressure_seconds"`
	LagSeconds      float64 `json:"lag_seconds"` // age of the oldest row that is not in Lance
	PageHits        int64   `json:"page_cache_hits"`
	PageMisses      int64   `json:"page_cache_misses"`
	TableVersions   int64   `json:"table_versions"`    // that are kept
	RetainRows      int64   `json:"retention_records"` // that retention has removed
	RetainBytes     int64   `json:"retention_bytes"`   // that those took in the data files
	Indexes         int64   `json:"indexes"`
	IndexLag        int64   `json:"index_lag_rows"`   // rows in Lance that an index lacks, the one that lacks most
	Replayed        int64   `json:"replayed_records"` // when the bucket was opened
	TornBytes       int64   `json:"torn_bytes"`       // when the bucket was opened
	Healed          int64   `json:"healed_manifests"` // when the bucket was opened
	Lost            int64   `json:"lost_records"`     // when the bucket was opened
}

// Snapshot reads the counts; nil for a bucket whose metrics are off.
func (b *Bucket) Snapshot() *Snapshot {
	if b == nil {
		return nil
	}
	n := b.numbers()
	// Each pair of operation and kind is a number of its own; here they are one for each operation,
	// or for all.
	failed := func(o Operation) (sum int64) {
		for i, p := range errorPairs {
			if o == "" || p.operation == o {
				sum += int64(n[firstError+number(i)])
			}
		}
		return sum
	}
	return &Snapshot{
		PutCount:        int64(n[putRecords]),
		PutBytes:        int64(n[putBytes]),
		Appends:         int64(n[puts]),
		GetCount:        int64(n[gets]),
		RecordsRead:     int64(n[getRecords]),
		BytesRead:       int64(n[getBytes]),
		FlushCount:      int64(n[flushes]),
		FlushSeconds:    n[flushNanos] * nano,
		FlushErrors:     failed(Flush),
		LastFlushTime:   n[lastFlushNanos] * nano,
		CompactionCount: int64(n[compactions]),
		CompactionFails: failed(Compaction),
		Errors:          failed(""),
		BytesWritten:    int64(n[walBytesWritten] + n[tableBytesWritten]),
		Amplification:   n[writeAmplification],
		WALSyncCount:    int64(n[walSyncs]),
		HeldBack:        int64(n[backpressureWaits]),
		HeldBackSeconds: n[backpressureNanos] * nano,
		LagSeconds:      n[lagSeconds],
		PageHits:        int64(n[pageHits]),
		PageMisses:      int64(n[pageMisses]),
		TableVersions:   int64(n[versions]),
		Indexes:         int64(n[indexes]),
		IndexLag:        int64(n[indexLag]),
		RetainRows:      int64(n[retainRows]),
		RetainBytes:     int64(n[retainBytes]),
		Replayed:        int64(n[replayed]),
		TornBytes:       int64(n[tornBytes]),
		Healed:          int64(n[healed]),
		Lost:            int64(n[lost]),
	}
}

// Status is what the status page shows of a bucket.
type Status struct {
	Path        string    `json:"path"`
	Rows        int64     `json:"rows"`
	BufferRows  int64     `json:"buffer_rows"`
	BufferBytes int64     `json:"buffer_bytes"`
	WALBytes    int64     `json:"wal_bytes"`
	Fragments   int64     `json:"fragments"`
	TableBytes  int64     `json:"table_bytes"`
	MemoryBytes int64     `json:"memory_bytes"`
	Poisoned    bool      `json:"poisoned"`
	Counts      *Snapshot `json:"counts"`
}

// Status reads the bucket for the status page.
func (b *Bucket) Status() Status {
	s := b.state()
	return Status{
		Path: b.path, Rows: s.Rows,
		BufferRows: s.BufferRows, BufferBytes: s.BufferBytes, WALBytes: s.WALBytes,
		Fragments: int64(s.Fragments), TableBytes: s.TableBytes,
		MemoryBytes: s.BufferBytes + s.RecentBytes + s.PageBytes, Poisoned: s.Poisoned,
		Counts: b.Snapshot(),
	}
}
