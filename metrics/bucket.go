package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State is what a bucket knows of itself at one moment. The first group are
// counts since it was opened.
type State struct {
	Puts, PutRecords, PutBytes int64
	PageHits, PageMisses       int64
	RetainRows, RetainBytes    int64 // removed by retention

	BufferRows, BufferBytes int64         // of what is not in Lance
	Lag                     time.Duration // age of the oldest such row
	WALBytes                int64
	WALSegments             int
	Rows                    int64 // acknowledged and not removed
	Fragments               int
	TableBytes              int64
	RecentBytes             int64 // of rows in memory that are in Lance
	PageBytes               int64 // of the page cache
	Indexes                 int
	IndexLag                int64 // rows of the table that an index lacks
	Poisoned                bool
}

// Bucket counts what one bucket does. On a nil *Bucket, that of a bucket whose
// metrics are off, all methods do nothing.
type Bucket struct {
	ended func() // takes it out of its set
	path  string
	state func() State
	own   [countNumbers]atomic.Int64 // what state does not tell

	put, get, flush, compaction, index, fsync, group prometheus.Observer
}

// Close ends the series of the bucket. Calls that come after it count into numbers that nobody reads.
func (b *Bucket) Close() {
	if b != nil {
		b.ended()
	}
}

// PutDone times a put that was acknowledged.
func (b *Bucket) PutDone(took time.Duration) {
	if b != nil {
		b.put.Observe(took.Seconds())
	}
}

// GetDone counts and times a read of so many rows.
func (b *Bucket) GetDone(rows int64, took time.Duration) {
	if b != nil {
		b.own[gets].Add(1)
		b.own[getRecords].Add(rows)
		b.get.Observe(took.Seconds())
	}
}

// ReadBytes counts bytes of rows that were read.
func (b *Bucket) ReadBytes(n int64) {
	if b != nil {
		b.own[getBytes].Add(n)
	}
}

// FlushDone counts and times a flush that ended now.
func (b *Bucket) FlushDone(took time.Duration) {
	if b != nil {
		b.own[flushes].Add(1)
		b.own[flushNanos].Add(int64(took))
		b.own[lastFlushNanos].Store(time.Now().UnixNano())
		b.flush.Observe(took.Seconds())
	}
}

// CompactionDone counts and times a compaction.
func (b *Bucket) CompactionDone(took time.Duration) {
	if b != nil {
		b.own[compactions].Add(1)
		b.compaction.Observe(took.Seconds())
	}
}

// IndexDone counts and times an index that was built or has taken rows in.
func (b *Bucket) IndexDone(took time.Duration) {
	if b != nil {
		b.own[indexings].Add(1)
		b.index.Observe(took.Seconds())
	}
}

// Failed counts an operation that failed. One that would only have had to wait, and was told not to, is none.
func (b *Bucket) Failed(o Operation, k Kind) {
	if b != nil {
		b.own[errorNumber(o, k)].Add(1)
	}
}

// HeldBack counts and times a wait of a put for a flush.
func (b *Bucket) HeldBack(took time.Duration) {
	if b != nil {
		b.own[backpressureWaits].Add(1)
		b.own[backpressureNanos].Add(int64(took))
	}
}

// LogWrote counts a write of so many appends to the log. How many there are in one says how well the wait for a disk is shared.
func (b *Bucket) LogWrote(appends int, bytes int64) {
	if b != nil {
		b.own[walBytesWritten].Add(bytes)
		b.group.Observe(float64(appends))
	}
}

// LogSynced counts and times a sync of the log.
func (b *Bucket) LogSynced(took time.Duration) {
	if b != nil {
		b.own[walSyncs].Add(1)
		b.fsync.Observe(took.Seconds())
	}
}

// TableWrote counts bytes written to files of the table.
func (b *Bucket) TableWrote(bytes int64) {
	if b != nil {
		b.own[tableBytesWritten].Add(bytes)
	}
}

// Versions tells how many versions of the table there are.
func (b *Bucket) Versions(n int) {
	if b != nil {
		b.own[versions].Store(int64(n))
	}
}

// Recovered counts what was found when the bucket was opened. Counts, and not the duration of an opening, as they stay to be seen
// when a scrape comes later.
func (b *Bucket) Recovered(records, torn int64, manifests int, missing int64) {
	if b != nil {
		b.own[replayed].Add(records)
		b.own[tornBytes].Add(torn)
		b.own[healed].Add(int64(manifests))
		b.own[lost].Add(missing)
	}
}

// numbers are the counts and levels of the bucket at this moment.
func (b *Bucket) numbers() numbers {
	// First, as what it asks may take over puts, and these are counted on the way.
	s := b.state() // which may count something
	var n numbers
	for i := range b.own {
		n[i] = float64(b.own[i].Load())
	}
	n[puts], n[putRecords], n[putBytes] = float64(s.Puts), float64(s.PutRecords), float64(s.PutBytes)
	n[pageHits], n[pageMisses] = float64(s.PageHits), float64(s.PageMisses)
	n[retainRows], n[retainBytes] = float64(s.RetainRows), float64(s.RetainBytes)
	n[bufferRows], n[bufferBytes], n[lagSeconds] = float64(s.BufferRows), float64(s.BufferBytes), s.Lag.Seconds()
	n[walBytes], n[walSegments] = float64(s.WALBytes), float64(s.WALSegments)
	n[rows], n[fragments], n[tableBytes] = float64(s.Rows), float64(s.Fragments), float64(s.TableBytes)
	n[recentBytes], n[pageBytes] = float64(s.RecentBytes), float64(s.PageBytes)
	n[indexes], n[indexLag] = float64(s.Indexes), float64(s.IndexLag)
	if s.Poisoned {
		n[poisoned] = 1
	}
	n.amplify()
	return n
}
