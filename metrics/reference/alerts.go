package reference

// Alert is a rule that tells a person.
type Alert struct {
	Name     string
	Expr     string
	For      string
	Severity string // "page" wants somebody now, "ticket" in working hours
	Summary  string // of one alert, with its labels
	Action   string // what to do
}

// where is the bucket that an alert is about. Each expression keeps the labels that its text names, so that an alert
// is of one bucket in one process, and says which.
const where = "{{ $labels.topic }}/{{ $labels.bucket }}"

// Alerts lists the rules. One that wants somebody now is about data, or about puts that are refused; what is only slow,
// or was mended already, can wait for the morning.
var Alerts = []Alert{
	{
		"PersistingBucketPoisoned", "max by (instance, topic, bucket) (persisting_poisoned) > 0", "0m", "page",
		where + " refuses writes",
		"A write or a sync failed, and what is on disk is not certain. Look for the cause in the log (`bucket refuses writes`) and at the disk; then open the bucket again, which recovers what was acknowledged.",
	},
	{
		"PersistingDiskErrors", `sum by (instance, topic, bucket, operation) (increase(persisting_errors_total{kind=~"storage|corrupt"}[5m])) > 0`, "0m", "page",
		"{{ $labels.operation }} fails in " + where,
		"The message is in the log. A full disk mends itself once there is room; an error of the device does not.",
	},
	{
		"PersistingOpenFails", `sum by (instance, kind) (increase(persisting_open_errors_total[10m])) > 0`, "0m", "page",
		"a bucket could not be opened ({{ $labels.kind }})",
		"`locked`: another process has it. `corrupt`: the message names file and offset; `persisting verify` shows all of the damage, `persisting repair` keeps what can be read.",
	},
	{
		"PersistingFlushStalled", "max by (instance, topic, bucket) (persisting_lag_seconds) > 300", "5m", "page",
		where + " has not been flushed for {{ $value | humanizeDuration }}",
		"Acknowledged records are safe in the log, which grows until puts are held back. See the errors and the durations of flushes. With `flush_interval=0` nothing is flushed by time: silence the rule for such a bucket.",
	},
	{
		"PersistingBackpressure", "sum by (instance, topic, bucket) (rate(persisting_backpressure_seconds_total[5m])) > 0.1", "5m", "ticket",
		where + " holds puts back for {{ $value | humanizePercentage }} of the time",
		"Flushes cannot keep up with puts: a slower disk than before, or more records. Spread them over more buckets.",
	},
	{
		"PersistingMemoryBudget", "sum by (instance) (persisting_memory_budget_used_bytes) > sum by (instance) (persisting_memory_budget_bytes)", "10m", "ticket",
		"the buckets of {{ $labels.instance }} take more memory than their budget",
		"Nothing is cached any more and puts are held back until flushes make room. Raise it with `set_memory_budget`, or put less at a time.",
	},
	{
		"PersistingSlowSync", "histogram_quantile(0.99, sum by (instance, topic, bucket, le) (rate(persisting_wal_fsync_duration_seconds_bucket[5m]))) > 0.1", "10m", "ticket",
		"the log of " + where + " takes {{ $value | humanizeDuration }} to sync",
		"The disk is slow or shared. With `wal_sync_interval=0` every put waits for it.",
	},
	{
		"PersistingFragments", "max by (instance, topic, bucket) (persisting_fragments) > 1000", "30m", "ticket",
		where + " has {{ $value }} fragments",
		"Compaction is off, fails or cannot keep up: reads and flushes become slow. See its errors, or call `compact`.",
	},
	{
		"PersistingIndexLag", "max by (instance, topic, bucket) (persisting_index_lag_rows) > 10000 and max by (instance, topic, bucket) (persisting_index_lag_rows) > 0.1 * max by (instance, topic, bucket) (persisting_rows)", "30m", "ticket",
		"an index of " + where + " lacks {{ $value }} records",
		"Queries are slow, because they look at these records one by one. The background work that takes them in fails (see its errors, operation `index`) or cannot keep up; `compact` does it at once.",
	},
	{
		"PersistingRecordsLost", "sum by (instance, topic, bucket) (persisting_lost_records_total) > 0", "0m", "page",
		where + " was opened without {{ $value }} of its records",
		"A damaged log was salvaged. `stats()[\"recovery\"][\"missing_rows\"]` and the log name the offsets, which are null now; the damaged files are kept as `wal/*.broken`.",
	},
	{
		"PersistingTornLog", "sum by (instance, topic, bucket) (persisting_wal_torn_bytes_total + persisting_healed_manifests_total) > 0", "0m", "ticket",
		where + " was recovered after a crash",
		"Nothing that was acknowledged and synced is lost. With `wal_sync_interval` above 0 the last records before a power failure may be.",
	},
	{
		"PersistingStoreDamaged", `sum by (instance, store) (increase(persisting_kv_loads_total{result=~"damaged|failed"}[15m])) > 0`, "0m", "ticket",
		"blocks of {{ $labels.store }} cannot be read",
		"Each is a miss, once, and nothing wrong was returned. `persisting kv verify` names the files; a disk that damages blocks damages other things too.",
	},
	{
		"PersistingStoreWriteErrors", "sum by (instance, store) (increase(persisting_kv_write_errors_total[5m])) > 0", "0m", "page",
		"{{ $labels.store }} cannot write",
		"Sets are refused while it lasts; what is there can be read. The message is in the log. A full disk mends itself once there is room: is the capacity larger than the disk?",
	},
	{
		"PersistingStoreSheds", `sum by (instance, store) (rate(persisting_kv_sets_total{result=~"shed|full"}[10m])) > 0.05 * sum by (instance, store) (rate(persisting_kv_sets_total[10m]))`, "10m", "ticket",
		"{{ $labels.store }} does not store {{ $value }} blocks a second",
		"`shed`: blocks come faster than the disk takes them; let fewer in (`admission=\"second_hit\"`) or raise `max_store_backlog`. `full`: nearly all is pinned or leased; raise the capacity or shorten leases.",
	},
	{
		"PersistingParametersDamaged", `sum by (instance, store) (increase(persisting_params_errors_total{kind="corrupt"}[15m])) + sum by (instance, store) (increase(persisting_params_verify_faults_total[15m])) > 0`, "0m", "page",
		"{{ $labels.store }} has bytes that are not those that were written",
		"Nothing wrong was returned: the message names tensor, file and place. `persisting params verify` lists all of it. Other versions can be loaded; look at the disk, which damages other things too.",
	},
	{
		"PersistingParametersDiskErrors", `sum by (instance, store, operation) (increase(persisting_params_errors_total{kind="storage"}[5m])) > 0`, "0m", "page",
		"{{ $labels.operation }} fails in {{ $labels.store }}",
		"A version that could not be saved is not there in part. A full disk has room again once old versions are deleted and `persisting params gc` has run.",
	},
	{
		"PersistingTrajectoriesFail", `sum by (instance, store, operation) (increase(persisting_trajectory_errors_total{kind=~"storage|corrupt"}[5m])) > 0`, "0m", "page",
		"{{ $labels.operation }} fails in {{ $labels.store }}",
		"What was acknowledged is there. The message is in the log; `persisting verify` on the store reads both of its buckets.",
	},
	{
		"PersistingTrajectoriesStuck", `sum by (instance, store) (persisting_trajectory_pending_batches) > 0 and sum by (instance, store) (increase(persisting_trajectory_acks_total[30m])) == 0`, "30m", "ticket",
		"batches of {{ $labels.store }} are given out, and none is acknowledged",
		"A trainer takes batches and does not say that it is done, or is gone: `pending_batches` has what it was given. It is no harm where a step of training takes longer than half an hour.",
	},
	{
		"PersistingTrajectoriesCold", `sum by (instance, store) (rate(persisting_trajectory_rows_read_total{from="table"}[10m])) > 0.1 * sum by (instance, store) (rate(persisting_trajectory_rows_read_total[10m]))`, "10m", "ticket",
		"samplers of {{ $labels.store }} read {{ $value }} rows a second from the table",
		"A row from the table costs far more than one from the mirror. Raise `hot_bytes`, or draw of newer steps.",
	},
	{
		"PersistingLogMessagesDropped", "sum by (instance) (increase(persisting_log_messages_dropped_total[15m])) > 0", "0m", "ticket",
		"log messages of {{ $labels.instance }} were dropped",
		"A handler of Python's logging is slow, or the process is stuck in one.",
	},
}
