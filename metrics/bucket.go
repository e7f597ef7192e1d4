package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Gauges are read at each scrape. They must be safe for concurrent use and
// must not wait for a disk.
type Gauges struct {
	BufferRows func() float64 // rows acknowledged and not yet in Lance
	WALBytes   func() float64 // bytes of the write-ahead log on disk
	Fragments  func() float64 // fragments of the Lance table
	Rows       func() float64 // acknowledged rows
}

// Bucket is the set of collectors of one bucket.
type Bucket struct {
	RecordsPut    prometheus.Counter   // rows acknowledged
	RecordsGot    prometheus.Counter   // rows read
	Gets          prometheus.Counter   // reads
	BytesWritten  prometheus.Counter   // bytes written to the log and to Lance
	FlushErrors   prometheus.Counter   // flushes that failed
	FlushSeconds  prometheus.Histogram // duration of a flush
	CompactErrors prometheus.Counter   // compactions that failed
	CompactSecs   prometheus.Histogram // duration of a compaction
	WALSyncSecs   prometheus.Histogram // duration of an fdatasync of the log
	WALGroup      prometheus.Histogram // appends that shared one write
	Replayed      prometheus.Counter   // rows recovered from the log
	TornBytes     prometheus.Counter   // bytes of a torn log tail that were cut off
	Healed        prometheus.Counter   // damaged manifests set aside
	LastFlush     prometheus.Gauge     // time of the last flush, Unix seconds

	all, registered []prometheus.Collector
	registerer      prometheus.Registerer
}

// NewBucket makes the collectors of the bucket in the directory path.
func NewBucket(path string, g Gauges) *Bucket {
	b := &Bucket{}
	labels := prometheus.Labels{"path": path}
	add := func(c prometheus.Collector) { b.all = append(b.all, c) }
	counter := func(name, help string, extra ...string) prometheus.Counter {
		l := prometheus.Labels{"path": path}
		for i := 0; i < len(extra); i += 2 {
			l[extra[i]] = extra[i+1]
		}
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: l})
		add(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: labels, Buckets: buckets,
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		})
		add(h)
		return h
	}
	gauge := func(name, help string, f func() float64) {
		add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
	}
	syncs := prometheus.ExponentialBuckets(32e-6, 2, 16)
	long := prometheus.ExponentialBuckets(1e-3, 2, 16)

	const records = "Records put into and read from the bucket."
	b.RecordsPut = counter("persisting_records_total", records, "operation", "put")
	b.RecordsGot = counter("persisting_records_total", records, "operation", "get")
	b.Gets = counter("persisting_reads_total", "Reads of the bucket.")
	b.BytesWritten = counter("persisting_written_bytes_total", "Bytes written to the write-ahead log and to Lance.")
	b.FlushErrors = counter("persisting_flush_errors_total", "Flushes that failed.")
	b.FlushSeconds = histogram("persisting_flush_duration_seconds", "Duration of a flush into Lance.", long)
	b.CompactErrors = counter("persisting_compaction_errors_total", "Compactions that failed.")
	b.CompactSecs = histogram("persisting_compaction_duration_seconds", "Duration of a compaction.", long)
	b.WALSyncSecs = histogram("persisting_wal_sync_duration_seconds", "Duration of an fdatasync of the write-ahead log.", syncs)
	b.WALGroup = histogram("persisting_wal_group_appends", "Appends that shared one write to the write-ahead log.", prometheus.ExponentialBuckets(1, 2, 11))
	b.Replayed = counter("persisting_replayed_records_total", "Records recovered from the write-ahead log when the bucket was opened.")
	b.TornBytes = counter("persisting_wal_torn_bytes_total", "Bytes of a torn end of the write-ahead log that were cut off.")
	b.Healed = counter("persisting_healed_manifests_total", "Damaged manifests of the table that were set aside.")
	b.LastFlush = prometheus.NewGauge(prometheus.GaugeOpts{Name: "persisting_last_flush_timestamp_seconds", Help: "Time of the last flush that succeeded.", ConstLabels: labels})
	add(b.LastFlush)
	gauge("persisting_buffer_size", "Records acknowledged and not yet in Lance.", g.BufferRows)
	gauge("persisting_wal_size_bytes", "Size of the write-ahead log on disk.", g.WALBytes)
	gauge("persisting_fragments", "Fragments of the Lance table.", g.Fragments)
	gauge("persisting_rows", "Acknowledged records in the bucket.", g.Rows)

	return b
}

// Register registers the collectors with r until Close.
func (b *Bucket) Register(r prometheus.Registerer) error {
	b.registerer = r
	for _, c := range b.all {
		if err := r.Register(c); err != nil {
			b.Close()
			return err
		}
		b.registered = append(b.registered, c)
	}
	return nil
}

// Close unregisters the collectors.
func (b *Bucket) Close() {
	for _, c := range b.registered {
		b.registerer.Unregister(c)
	}
	b.registered = nil
}

// Snapshot is the state of the counters at one moment.
type Snapshot struct {
	PutCount        int64   `json:"put_count"`         // records
	GetCount        int64   `json:"get_count"`         // reads
	RecordsRead     int64   `json:"records_read"`      // records
	FlushCount      int64   `json:"flush_count"`       // flushes that succeeded
	FlushSeconds    float64 `json:"flush_seconds"`     // in all
	FlushErrors     int64   `json:"flush_errors"`      // flushes that failed
	LastFlushTime   float64 `json:"last_flush_time"`   // Unix seconds; 0 before the first
	CompactionCount int64   `json:"compaction_count"`  // compactions that succeeded
	CompactionFails int64   `json:"compaction_errors"` // compactions that failed
	BytesWritten    int64   `json:"bytes_written"`     // to the log and to Lance
	WALSyncCount    int64   `json:"wal_sync_count"`    // fdatasync calls
	Replayed        int64   `json:"replayed_records"`  // when the bucket was opened
	TornBytes       int64   `json:"torn_bytes"`        // when the bucket was opened
	Healed          int64   `json:"healed_manifests"`  // when the bucket was opened
}

// Snapshot reads the collectors.
func (b *Bucket) Snapshot() Snapshot {
	flushes, compactions, syncs := histogram(b.FlushSeconds), histogram(b.CompactSecs), histogram(b.WALSyncSecs)
	return Snapshot{
		PutCount:        int64(value(b.RecordsPut)),
		GetCount:        int64(value(b.Gets)),
		RecordsRead:     int64(value(b.RecordsGot)),
		FlushCount:      int64(flushes.GetSampleCount()),
		FlushSeconds:    flushes.GetSampleSum(),
		FlushErrors:     int64(value(b.FlushErrors)),
		LastFlushTime:   value(b.LastFlush),
		CompactionCount: int64(compactions.GetSampleCount()),
		CompactionFails: int64(value(b.CompactErrors)),
		BytesWritten:    int64(value(b.BytesWritten)),
		WALSyncCount:    int64(syncs.GetSampleCount()),
		Replayed:        int64(value(b.Replayed)),
		TornBytes:       int64(value(b.TornBytes)),
		Healed:          int64(value(b.Healed)),
	}
}

// Flushed counts a flush of the given duration that ended now.
func (b *Bucket) Flushed(d time.Duration) {
	b.FlushSeconds.Observe(d.Seconds())
	b.LastFlush.SetToCurrentTime()
}

func read(m prometheus.Metric) *dto.Metric {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		panic(err) // a collector made above always encodes
	}
	return &out
}

func value(m prometheus.Metric) float64 {
	out := read(m)
	if c := out.GetCounter(); c != nil {
		return c.GetValue()
	}
	return out.GetGauge().GetValue()
}

func histogram(h prometheus.Histogram) *dto.Histogram { return read(h).GetHistogram() }
