package metrics

// number names one count or one level of a bucket, or of a store of blocks; each has those of its own only.
type number int

// Counts, which only grow. What a bucket has counted outlives it, in the sum of those that were closed.
const (
	puts number = iota
	putRecords
	putBytes
	gets
	getRecords
	getBytes
	flushes
	flushNanos
	compactions
	indexings
	walBytesWritten
	tableBytesWritten
	walSyncs
	backpressureWaits
	backpressureNanos
	pageHits
	pageMisses
	replayed
	tornBytes
	healed
	lost
	retainRows
	retainBytes

	kvHits
	kvAbsent
	kvOtherLength
	kvDamaged
	kvUnread
	kvLate
	kvSets
	kvPresent
	kvUnwritten
	kvRefused
	kvFull
	kvShed
	kvReadBytes
	kvWrittenBytes
	kvMovedBytes
	kvEvicted
	kvEvictedBytes
	kvExpired
	kvDeleted
	kvWriteErrors

	firstError // of errorPairs

	lastCount = firstError + number(len(errorPairs)) - 1
)

// Levels, which rise and fall, and end with their bucket: see counts.
const (
	bufferRows number = lastCount + 1 + iota
	bufferBytes
	lagSeconds
	walBytes
	walSegments
	rows
	fragments
	versions
	tableBytes
	recentBytes
	pageBytes
	indexes
	indexLag
	poisoned
	lastFlushNanos
	writeAmplification

	kvKeys
	kvBytes
	kvDiskBytes
	kvCapacityBytes
	kvPinnedBytes
	kvQueuedLoads
	kvQueuedStores
	kvBacklogBytes
	kvAmplification

	countNumbers
)

// numbers are all counts and levels of a bucket or a store, or of several together. As Prometheus has them, in floats,
// which are exact up to 2^53.
type numbers [countNumbers]float64

// add joins the numbers of another bucket.
func (n *numbers) add(o *numbers) {
	for i := range n {
		switch number(i) {
		// What stands for several buckets is as late as the latest of them, and not as all
		// together.
		case lagSeconds, indexLag, lastFlushNanos:
			n[i] = max(n[i], o[i])
		default:
			n[i] += o[i]
		}
	}
	n.amplify()
}

// amplify works out the write amplification.
func (n *numbers) amplify() {
	// Of the sums, and not the sum or the mean of those of each: a bucket with few puts would count
	// as one with many.
	n[writeAmplification] = 0
	if n[putBytes] > 0 {
		n[writeAmplification] = (n[walBytesWritten] + n[tableBytesWritten]) / n[putBytes]
	}
	n[kvAmplification] = 0
	if n[kvWrittenBytes] > 0 {
		n[kvAmplification] = 1 + n[kvMovedBytes]/n[kvWrittenBytes]
	}
}

// counts are the numbers without the levels, which end with their bucket.
func (n numbers) counts() numbers {
	clear(n[lastCount+1:])
	return n
}

// Operation is what a bucket was asked to do.
type Operation string

// The operations.
const (
	Put        Operation = "put"
	Get        Operation = "get"
	Flush      Operation = "flush"
	Compaction Operation = "compaction"
	Index      Operation = "index"
)

// Kind is a kind of error.
type Kind string

// The kinds of errors.
const (
	Schema   Kind = "schema"    // data that does not fit the columns
	Invalid  Kind = "invalid"   // an argument or an option that cannot be
	NotFound Kind = "not_found" // a row that does not exist
	Closed   Kind = "closed"    // the bucket was closed before or meanwhile
	Locked   Kind = "locked"    // another opener has the bucket
	Poisoned Kind = "poisoned"  // a write failed before
	Corrupt  Kind = "corrupt"   // stored bytes contradict each other
	Storage  Kind = "storage"   // the disk failed, and whatever is none of the above
)

// errorPairs are the errors that are counted apart. For each operation the last
// one counts what is not listed.
var errorPairs = [...]struct {
	operation Operation
	kind      Kind
}{
	{Put, Schema},
	{Put, Invalid},
	{Put, Closed},
	{Put, Poisoned},
	{Put, Corrupt},
	{Put, Storage},
	{Get, NotFound},
	{Get, Closed},
	{Get, Corrupt},
	{Get, Storage},
	{Flush, Closed},
	{Flush, Poisoned},
	{Flush, Corrupt},
	{Flush, Storage},
	{Compaction, Closed},
	{Compaction, Poisoned},
	{Compaction, Corrupt},
	{Compaction, Storage},
	{Index, Invalid},
	{Index, Closed},
	{Index, Poisoned},
	{Index, Corrupt},
	{Index, Storage},
}

// errorNumber is where an error is counted.
func errorNumber(o Operation, k Kind) number {
	// A kind that an operation does not list is counted with its last, which is that of the disk: a
	// series for each pair would be many that never leave 0.
	found := firstError
	for i, p := range errorPairs {
		if p.operation == o {
			found = firstError + number(i)
			if p.kind == k {
				break
			}
		}
	}
	return found
}
