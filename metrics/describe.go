package metrics

import "slices"

// Names of the metrics that code refers to.
const (
	putDuration        = "persisting_put_duration_seconds"
	getDuration        = "persisting_get_duration_seconds"
	flushDuration      = "persisting_flush_duration_seconds"
	compactionDuration = "persisting_compaction_duration_seconds"
	indexDuration      = "persisting_index_duration_seconds"
	fsyncDuration      = "persisting_wal_fsync_duration_seconds"
	groupAppends       = "persisting_wal_group_appends"
	recoveryDuration   = "persisting_recovery_duration_seconds"
	openErrors         = "persisting_open_errors_total"
	openBuckets        = "persisting_open_buckets"
	openStores         = "persisting_open_stores"
	openParameters     = "persisting_open_parameter_stores"
	openTrajectories   = "persisting_open_trajectory_stores"
	kvLoadDuration     = "persisting_kv_load_duration_seconds"
	kvSetDuration      = "persisting_kv_set_duration_seconds"
	openHandles        = "persisting_open_handles"
	memoryBudget       = "persisting_memory_budget_bytes"
	memoryBudgetUsed   = "persisting_memory_budget_used_bytes"
	processMemory      = "persisting_process_memory_bytes"
	logDrops           = "persisting_log_messages_dropped_total"
	buildInfo          = "persisting_build_info"
)

// Descriptions lists every metric. The reference page, and what is exported, are made of it. Dashboards and alerts of
// users have these names, so one that was released is not changed any more.
var Descriptions = slices.Concat(described, describedParameters, describedTrajectories)

// described are those of buckets, of stores of blocks and of the process.
var described = []Description{
	{
		Name: "persisting_records_total", Type: CounterType, Of: OfBucket, Labels: []string{"operation"},
		Help:   "Records put (acknowledged) and got.",
		series: []series{{number: putRecords, labels: []string{"put"}}, {number: getRecords, labels: []string{"get"}}},
	},
	{
		Name: "persisting_record_bytes_total", Type: CounterType, Of: OfBucket, Labels: []string{"operation"},
		Help:   "Bytes of the records put and got, as they are held in memory.",
		series: []series{{number: putBytes, labels: []string{"put"}}, {number: getBytes, labels: []string{"get"}}},
	},
	{
		Name: "persisting_operations_total", Type: CounterType, Of: OfBucket, Labels: []string{"operation"},
		Help:  "Operations that succeeded.",
		Notes: "What the engine sees: puts of one turn of an event loop arrive as one. Those that failed are in `persisting_errors_total`.",
		series: []series{
			{number: puts, labels: []string{string(Put)}},
			{number: gets, labels: []string{string(Get)}},
			{number: flushes, labels: []string{string(Flush)}},
			{number: compactions, labels: []string{string(Compaction)}},
			{number: indexings, labels: []string{string(Index)}},
		},
	},
	{
		Name: "persisting_errors_total", Type: CounterType, Of: OfBucket, Labels: []string{"operation", "kind"},
		Help:   "Operations that failed, by kind of error.",
		Notes:  "`schema`, `invalid`, `not_found` and `closed` are faults of the caller (records that Python refuses do not reach the engine, and are not counted), `poisoned` follows from an earlier failure, `corrupt` and `storage` want a person.",
		series: errorSeries(Put, Get, Flush, Compaction, Index),
	},
	{
		Name: putDuration, Type: HistogramType, Of: OfBucket, buckets: shortTimes,
		Help:  "Time from a put reaching the engine to its acknowledgement.",
		Notes: "Every 16th put is timed.",
	},
	{
		Name: getDuration, Type: HistogramType, Of: OfBucket, buckets: shortTimes,
		Help:  "Time until a read has its first rows at hand.",
		Notes: "The rows of a long read are streamed afterwards, at the pace of the reader.",
	},
	{
		Name: flushDuration, Type: HistogramType, Of: OfBucket, buckets: longTimes,
		Help: "Duration of flushes into Lance, syncs included.",
	},
	{
		Name: compactionDuration, Type: HistogramType, Of: OfBucket, buckets: longTimes,
		Help: "Duration of compactions of the table, the removal of old versions included.",
	},
	{
		Name: indexDuration, Type: HistogramType, Of: OfBucket, buckets: longTimes,
		Help: "Duration of builds of indexes, and of taking new rows into them.",
	},
	{
		Name: "persisting_backpressure_waits_total", Type: CounterType, Of: OfBucket,
		Help:   "Puts that were held back because flushes could not keep up.",
		series: []series{{number: backpressureWaits}},
	},
	{
		Name: "persisting_backpressure_seconds_total", Type: CounterType, Of: OfBucket,
		Help:   "Time that puts were held back because flushes could not keep up.",
		series: []series{{number: backpressureNanos, scale: nano}},
	},
	{
		Name: "persisting_buffer_size", Type: GaugeType, Of: OfBucket,
		Help:   "Records acknowledged and not yet in Lance.",
		series: []series{{number: bufferRows}},
	},
	{
		Name: "persisting_buffer_bytes", Type: GaugeType, Of: OfBucket,
		Help:   "Bytes of the records not yet in Lance.",
		series: []series{{number: bufferBytes}},
	},
	{
		Name: "persisting_lag_seconds", Type: GaugeType, Of: OfBucket,
		Help:   "Age of the oldest record that is not yet in Lance, 0 if there is none.",
		Notes:  "Right after a flush it may be too large, by the duration of that flush.",
		series: []series{{number: lagSeconds}},
	},
	{
		Name: "persisting_last_flush_timestamp_seconds", Type: GaugeType, Of: OfBucket,
		Help:   "Time of the last flush that succeeded, 0 before the first.",
		series: []series{{number: lastFlushNanos, scale: nano}},
	},
	{
		Name: "persisting_wal_size_bytes", Type: GaugeType, Of: OfBucket,
		Help:   "Size of the write-ahead log.",
		series: []series{{number: walBytes}},
	},
	{
		Name: "persisting_wal_segments", Type: GaugeType, Of: OfBucket,
		Help:   "Files of the write-ahead log.",
		series: []series{{number: walSegments}},
	},
	{
		Name: fsyncDuration, Type: HistogramType, Of: OfBucket, buckets: syncTimes,
		Help: "Duration of the fdatasync calls of the write-ahead log.",
	},
	{
		Name: groupAppends, Type: HistogramType, Of: OfBucket, buckets: sizes,
		Help: "Appends that shared one write to the write-ahead log.",
	},
	{
		Name: "persisting_written_bytes_total", Type: CounterType, Of: OfBucket, Labels: []string{"target"},
		Help:   "Bytes written to the write-ahead log and to the files of the table.",
		Notes:  "What compactions rewrite is among those of the table.",
		series: []series{{number: walBytesWritten, labels: []string{"wal"}}, {number: tableBytesWritten, labels: []string{"table"}}},
	},
	{
		Name: "persisting_write_amplification", Type: GaugeType, Of: OfBucket,
		Help:   "Bytes written per byte put, since the bucket was opened; 0 before the first put.",
		Notes:  "`persisting_written_bytes_total` over `persisting_record_bytes_total{operation=\"put\"}`. Lance compresses, so that it can be below 1; flushes of few rows make it large, because each writes at least a data file, a transaction and a manifest.",
		series: []series{{number: writeAmplification}},
	},
	{
		Name: "persisting_rows", Type: GaugeType, Of: OfBucket,
		Help:   "Acknowledged records in the bucket, without those that were removed.",
		series: []series{{number: rows}},
	},
	{
		Name: "persisting_fragments", Type: GaugeType, Of: OfBucket,
		Help:   "Fragments of the Lance table.",
		series: []series{{number: fragments}},
	},
	{
		Name: "persisting_table_versions", Type: GaugeType, Of: OfBucket,
		Help:   "Versions of the Lance table that are kept.",
		series: []series{{number: versions}},
	},
	{
		Name: "persisting_table_size_bytes", Type: GaugeType, Of: OfBucket,
		Help:   "Size of the data files of the Lance table.",
		series: []series{{number: tableBytes}},
	},
	{
		Name: "persisting_indexes", Type: GaugeType, Of: OfBucket,
		Help:   "Indexes of the Lance table.",
		series: []series{{number: indexes}},
	},
	{
		Name: "persisting_index_lag_rows", Type: GaugeType, Of: OfBucket,
		Help:   "Records in Lance that an index lacks, of the index that lacks most.",
		Notes:  "Queries look at them one by one. Up to 4,096, or a 32nd of the table, are left to gather.",
		series: []series{{number: indexLag}},
	},
	{
		Name: "persisting_page_cache_reads_total", Type: CounterType, Of: OfBucket, Labels: []string{"result"},
		Help:   "Pages of the table that reads found in memory, or had to read.",
		series: []series{{number: pageHits, labels: []string{"hit"}}, {number: pageMisses, labels: []string{"miss"}}},
	},
	{
		Name: "persisting_memory_bytes", Type: GaugeType, Of: OfBucket, Labels: []string{"owner"},
		Help:  "Memory that rows take, by what holds them.",
		Notes: "`buffer`: not yet in Lance. `recent`: flushed and kept for reads. `pages`: read from the table.",
		series: []series{
			{number: bufferBytes, labels: []string{"buffer"}},
			{number: recentBytes, labels: []string{"recent"}},
			{number: pageBytes, labels: []string{"pages"}},
		},
	},
	{
		Name: "persisting_retention_records_total", Type: CounterType, Of: OfBucket,
		Help:   "Records that retention has removed.",
		series: []series{{number: retainRows}},
	},
	{
		Name: "persisting_retention_bytes_total", Type: CounterType, Of: OfBucket,
		Help:   "Bytes that records removed by retention took in the data files.",
		series: []series{{number: retainBytes}},
	},
	{
		Name: "persisting_replayed_records_total", Type: CounterType, Of: OfBucket,
		Help:   "Records recovered from the write-ahead log when the bucket was opened.",
		series: []series{{number: replayed}},
	},
	{
		Name: "persisting_wal_torn_bytes_total", Type: CounterType, Of: OfBucket,
		Help:   "Bytes of a torn end of the write-ahead log that were cut off when the bucket was opened.",
		series: []series{{number: tornBytes}},
	},
	{
		Name: "persisting_healed_manifests_total", Type: CounterType, Of: OfBucket,
		Help:   "Versions of the table that were set aside when the bucket was opened.",
		series: []series{{number: healed}},
	},
	{
		Name: "persisting_lost_records_total", Type: CounterType, Of: OfBucket,
		Help:   "Records that a salvage of the write-ahead log did not find when the bucket was opened.",
		series: []series{{number: lost}},
	},
	{
		Name: "persisting_poisoned", Type: GaugeType, Of: OfBucket,
		Help:   "Whether the bucket refuses writes until it is opened again: 1 or 0.",
		series: []series{{number: poisoned}},
	},
	{
		Name: "persisting_kv_loads_total", Type: CounterType, Of: OfBlocks, Labels: []string{"result"},
		Help:  "Blocks asked for, by what came of it.",
		Notes: "`absent` is a miss like any. `length`: the block is longer or shorter than the memory for it. `damaged`: what was on the disk was not the block; it is a miss once. `failed`: the disk could not read it. `late`: it waited longer than `load_deadline`. Keys that were only looked up are not counted.",
		series: []series{
			{number: kvHits, labels: []string{"hit"}},
			{number: kvAbsent, labels: []string{"absent"}},
			{number: kvOtherLength, labels: []string{"length"}},
			{number: kvDamaged, labels: []string{"damaged"}},
			{number: kvUnread, labels: []string{"failed"}},
			{number: kvLate, labels: []string{"late"}},
		},
	},
	{
		Name: "persisting_kv_sets_total", Type: CounterType, Of: OfBlocks, Labels: []string{"result"},
		Help:  "Blocks given to be stored, by what came of it.",
		Notes: "`present`: it was there with the same bytes. `refused`: the admission did not take it, or it fits into no segment. `full`: all is pinned, leased or read. `shed`: `max_store_backlog` had no room. `failed`: the disk could not write it.",
		series: []series{
			{number: kvSets, labels: []string{"stored"}},
			{number: kvPresent, labels: []string{"present"}},
			{number: kvRefused, labels: []string{"refused"}},
			{number: kvFull, labels: []string{"full"}},
			{number: kvShed, labels: []string{"shed"}},
			{number: kvUnwritten, labels: []string{"failed"}},
		},
	},
	{
		Name: "persisting_kv_bytes_total", Type: CounterType, Of: OfBlocks, Labels: []string{"operation"},
		Help:  "Bytes of blocks.",
		Notes: "`read`: of hits. `written`: of sets, with headers and padding. `moved`: written again, so that a segment could be emptied. `evicted`: of blocks that were forgotten.",
		series: []series{
			{number: kvReadBytes, labels: []string{"read"}},
			{number: kvWrittenBytes, labels: []string{"written"}},
			{number: kvMovedBytes, labels: []string{"moved"}},
			{number: kvEvictedBytes, labels: []string{"evicted"}},
		},
	},
	{
		Name: "persisting_kv_removed_total", Type: CounterType, Of: OfBlocks, Labels: []string{"reason"},
		Help: "Blocks that went: evicted for others, expired, or deleted.",
		series: []series{
			{number: kvEvicted, labels: []string{"evicted"}},
			{number: kvExpired, labels: []string{"expired"}},
			{number: kvDeleted, labels: []string{"deleted"}},
		},
	},
	{
		Name: "persisting_kv_write_errors_total", Type: CounterType, Of: OfBlocks,
		Help:   "Writes of a store that the disk failed.",
		Notes:  "After each, sets are refused for a second without trying.",
		series: []series{{number: kvWriteErrors}},
	},
	{
		Name: "persisting_kv_write_amplification", Type: GaugeType, Of: OfBlocks,
		Help:   "Bytes written per byte set, since the store was opened; 0 before the first.",
		series: []series{{number: kvAmplification}},
	},
	{
		Name: "persisting_kv_keys", Type: GaugeType, Of: OfBlocks,
		Help:   "Blocks in the store.",
		series: []series{{number: kvKeys}},
	},
	{
		Name: "persisting_kv_size_bytes", Type: GaugeType, Of: OfBlocks, Labels: []string{"of"},
		Help:  "Sizes of the store.",
		Notes: "`blocks`: what they take, headers and padding included. `pinned`: what those take that are pinned. `disk`: all segments, which are allocated in full. `capacity`: what the directory may take.",
		series: []series{
			{number: kvBytes, labels: []string{"blocks"}},
			{number: kvPinnedBytes, labels: []string{"pinned"}},
			{number: kvDiskBytes, labels: []string{"disk"}},
			{number: kvCapacityBytes, labels: []string{"capacity"}},
		},
	},
	{
		Name: "persisting_kv_queue_length", Type: GaugeType, Of: OfBlocks, Labels: []string{"queue"},
		Help: "Blocks that wait to be read or written.",
		series: []series{
			{number: kvQueuedLoads, labels: []string{"load"}},
			{number: kvQueuedStores, labels: []string{"set"}},
		},
	},
	{
		Name: "persisting_kv_backlog_bytes", Type: GaugeType, Of: OfBlocks,
		Help:   "Bytes of blocks that are being stored or wait for it.",
		series: []series{{number: kvBacklogBytes}},
	},
	{
		Name: kvLoadDuration, Type: HistogramType, Of: OfBlocks, buckets: shortTimes,
		Help: "Time from asking for a block to its result, hit or miss, the wait for its turn included.",
	},
	{
		Name: kvSetDuration, Type: HistogramType, Of: OfBlocks, buckets: shortTimes,
		Help: "Time from giving a block to the result of storing it, the wait for its turn included.",
	},
	{
		Name: recoveryDuration, Type: HistogramType, buckets: longTimes,
		Help: "Time it took to open a bucket, recovery included.",
	},
	{
		Name: openErrors, Type: CounterType, Labels: []string{"kind"},
		Help: "Buckets that could not be opened, by kind of error.",
	},
	{Name: openBuckets, Type: GaugeType, Help: "Buckets open in this process whose metrics are on."},
	{Name: openStores, Type: GaugeType, Help: "Stores of blocks open in this process."},
	{Name: openParameters, Type: GaugeType, Help: "Stores of parameters open in this process."},
	{Name: openTrajectories, Type: GaugeType, Help: "Stores of trajectories open in this process."},
	{Name: openHandles, Type: GaugeType, Help: "Buckets, reads and other things that callers hold open in the engine."},
	{
		Name: memoryBudget, Type: GaugeType,
		Help: "Memory that the rows of all buckets may take, see set_memory_budget.",
	},
	{
		Name: memoryBudgetUsed, Type: GaugeType,
		Help:  "Memory that the rows of all buckets take.",
		Notes: "Those whose metrics are off as well. Near the budget, buckets cache less and flush earlier, and puts are held back.",
	},
	{
		Name: processMemory, Type: GaugeType, Labels: []string{"owner"},
		Help:  "Memory of the engine in this process, by what allocated it.",
		Notes: "`arrow`: Arrow data of the engine's own. `go`: objects on the Go heap. What Lance holds in Rust is not in it.",
	},
	{Name: logDrops, Type: CounterType, Help: "Log messages and spans dropped because Python did not take them in time."},
	{Name: buildInfo, Type: GaugeType, Labels: []string{"version"}, Help: "Always 1; the version of the engine."},
}
