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

	paramsSaves
	paramsLoads
	paramsPulls
	paramsSharedBytes
	paramsChangedBytes
	paramsWholeBytes
	paramsWrittenBytes
	paramsLoadedBytes
	paramsPulledBytes
	paramsPullReadBytes
	paramsVerifiedBytes
	paramsFaults
	paramsCollectedFiles
	paramsCollectedBytes

	trajectorySteps
	trajectoryFinals
	trajectorySamples
	trajectorySampleNanos
	trajectoryDraws
	trajectoryDrawnSteps
	trajectoryRowsHot
	trajectoryRowsCold
	trajectoryLeases
	trajectoryLeasedSteps
	trajectoryAcks
	trajectoryRanked

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

	paramsOpen
	paramsBegun
	paramsNames // the first of those that tell of a directory
	paramsVersions
	paramsTensorBytes
	paramsStoredBytes
	paramsDiskBytes
	paramsNewest
	paramsLeases

	trajectoryEpisodesOpen
	trajectoryEpisodesEnded
	trajectoryEpisodesLost
	trajectoryEpisodesSuperseded
	trajectoryStepsOpen
	trajectoryStepsEnded
	trajectoryStepsHidden
	trajectoryColdRows
	trajectoryHotRows
	trajectoryHotBytes
	trajectoryLogBytes
	trajectoryTableBytes
	trajectorySheetRows
	trajectoryLeasedNow
	trajectoryLeasedStepsNow
	trajectoryTags
	trajectoryBehind // the last of those

	countNumbers
)

// numbers are all counts and levels of a bucket or a store, or of several together. As Prometheus has them, in floats,
// which are exact up to 2^53.
type numbers [countNumbers]float64

// add joins the numbers of another bucket or store, which may be the same directory opened twice.
func (n *numbers) add(o *numbers, same bool) {
	for i := range n {
		switch k := number(i); {
		// What stands for several buckets is as late as the latest of them, and not as all
		// together. What is in a directory is there once, whoever looks.
		case k == lagSeconds, k == indexLag, k == lastFlushNanos, k == paramsNewest, same && k >= paramsNames && k <= trajectoryBehind:
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

// Operation is what a bucket or a store was asked to do.
type Operation string

// The operations of a bucket.
const (
	Put        Operation = "put"
	Get        Operation = "get"
	Flush      Operation = "flush"
	Compaction Operation = "compaction"
	Index      Operation = "index"
)

// The operations of a store of parameters.
const (
	Save    Operation = "save"
	Part    Operation = "part"   // of one of many ranks
	Commit  Operation = "commit" // of all of them
	Load    Operation = "load"
	Pull    Operation = "pull"
	Verify  Operation = "verify"
	Collect Operation = "gc"
)

// The operations of a store of trajectories.
const (
	Append     Operation = "append"
	Draw       Operation = "sample"
	Lease      Operation = "lease"
	Ack        Operation = "ack"
	Tag        Operation = "tag"
	Restore    Operation = "restore"
	Prioritize Operation = "prioritize"
)

// Survey is how a store looks at what it has, for a scrape.
const Survey Operation = "survey"

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
	Refused  Kind = "refused"   // of a store: what was asked for cannot be, or not now
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
	{Save, Refused},
	{Save, Corrupt},
	{Save, Storage},
	{Part, Refused},
	{Part, Corrupt},
	{Part, Storage},
	{Commit, Refused},
	{Commit, Corrupt},
	{Commit, Storage},
	{Load, Refused},
	{Load, Corrupt},
	{Load, Storage},
	{Pull, Refused},
	{Pull, Corrupt},
	{Pull, Storage},
	{Verify, Refused},
	{Verify, Corrupt},
	{Verify, Storage},
	{Collect, Corrupt},
	{Collect, Storage},
	{Append, Refused},
	{Append, Corrupt},
	{Append, Storage},
	{Draw, Refused},
	{Draw, Corrupt},
	{Draw, Storage},
	{Lease, Refused},
	{Lease, Corrupt},
	{Lease, Storage},
	{Ack, Refused},
	{Ack, Corrupt},
	{Ack, Storage},
	{Tag, Refused},
	{Tag, Corrupt},
	{Tag, Storage},
	{Restore, Refused},
	{Restore, Corrupt},
	{Restore, Storage},
	{Prioritize, Refused},
	{Prioritize, Corrupt},
	{Prioritize, Storage},
	{Survey, Corrupt},
	{Survey, Storage},
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
