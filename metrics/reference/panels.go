package reference

// Query is a line, or several, of a panel.
type Query struct{ Expr, Legend string }

// Panel is a diagram of the dashboard.
type Panel struct {
	Title   string
	Unit    string // as Grafana names it
	Notes   string
	Queries []Query
}

// Row is panels under one heading.
type Row struct {
	Title  string
	Panels []Panel
}

// The buckets that the dashboard shows are chosen at its top.
const (
	chosen = `instance=~"$instance",topic=~"$topic",bucket=~"$bucket"`
	name   = "{{topic}}/{{bucket}}"
)

// ratePer is how fast a counter grows. Processes that have had a bucket one after the other are one line: it is the
// bucket that is looked at.
func ratePer(metric, more string) Query {
	return Query{"sum by (topic, bucket) (rate(" + metric + "{" + chosen + more + "}[$__rate_interval]))", name}
}

// level is a gauge as it is.
func level(metric string) Query {
	return Query{"sum by (topic, bucket) (" + metric + "{" + chosen + "})", name}
}

func quantiles(metric string) []Query { return quantilesOf(metric, chosen) }

// quantilesOf are what half of the observations stay below, and all but one in a hundred: a mean would hide the wait
// that people ask about.
func quantilesOf(metric, which string) []Query {
	one := func(q, legend string) Query {
		return Query{"histogram_quantile(" + q + ", sum by (le) (rate(" + metric + "_bucket{" + which + "}[$__rate_interval])))", legend}
	}
	return []Query{one("0.5", "half"), one("0.99", "99 %")}
}

// The stores that the dashboard shows are chosen at its top as well.
const stores = `instance=~"$instance",store=~"$store"`

// ofStore is a gauge of stores as it is, by one of its labels.
func ofStore(metric, by string) Query {
	return Query{"sum by (" + by + ") (" + metric + "{" + stores + "})", "{{" + by + "}}"}
}

// share is how much of one counter of stores another is.
func share(part, whole, legend string) Query {
	rate := func(series string) string { return "sum(rate(" + series + "[$__rate_interval]))" }
	return Query{rate(part) + " / (" + rate(whole) + " > 0)", legend}
}

// storeTimes are those of operations, which are a label of one histogram.
func storeTimes(metric string, operations ...string) (all []Query) {
	for _, o := range operations {
		for _, q := range quantilesOf(metric, stores+`,operation="`+o+`"`) {
			all = append(all, Query{q.Expr, o + ": " + q.Legend})
		}
	}
	return all
}

func ofStores(metric, by string) Query {
	return Query{"sum by (" + by + ") (rate(" + metric + "{" + stores + "}[$__rate_interval]))", "{{" + by + "}}"}
}

func storeQuantiles(metric string) []Query { return quantilesOf(metric, stores) }

// Rows lists the panels of the dashboard.
var Rows = []Row{
	{"Is it well?", []Panel{
		{"Buckets that refuse writes", "none", "Each wants a person.", []Query{{"sum(persisting_poisoned{" + chosen + "})", "poisoned"}}},
		{"Open buckets", "none", "", []Query{{`sum by (instance) (persisting_open_buckets{instance=~"$instance"})`, "{{instance}}"}}},
		{"Errors", "ops", "", []Query{{"sum by (operation, kind) (rate(persisting_errors_total{" + chosen + "}[$__rate_interval]))", "{{operation}}: {{kind}}"}}},
		{"Buckets that did not open", "ops", "", []Query{{`sum by (kind) (rate(persisting_open_errors_total{instance=~"$instance"}[$__rate_interval]))`, "{{kind}}"}}},
	}},
	{"Records", []Panel{
		{"Records put", "rowsps", "", []Query{ratePer("persisting_records_total", `,operation="put"`)}},
		{"Records got", "rowsps", "", []Query{ratePer("persisting_records_total", `,operation="get"`)}},
		{"Bytes", "Bps", "", []Query{{"sum by (operation) (rate(persisting_record_bytes_total{" + chosen + "}[$__rate_interval]))", "{{operation}}"}}},
		{"Operations", "ops", "", []Query{{"sum by (operation) (rate(persisting_operations_total{" + chosen + "}[$__rate_interval]))", "{{operation}}"}}},
		{"Records in the buckets", "short", "", []Query{level("persisting_rows")}},
		{"Removed by retention", "rowsps", "", []Query{ratePer("persisting_retention_records_total", "")}},
		{"Bytes removed by retention", "Bps", "", []Query{ratePer("persisting_retention_bytes_total", "")}},
		{"Time of a put", "s", "Every 16th put is timed.", quantiles("persisting_put_duration_seconds")},
		{"Time of a get", "s", "", quantiles("persisting_get_duration_seconds")},
		{"Held back", "percentunit", "Share of the time that puts wait for flushes.", []Query{
			ratePer("persisting_backpressure_seconds_total", ""),
		}},
		{"Puts held back", "ops", "", []Query{ratePer("persisting_backpressure_waits_total", "")}},
	}},
	{"From the log into Lance", []Panel{
		{"Lag", "s", "Age of the oldest record that is not in Lance.", []Query{{"max by (topic, bucket) (persisting_lag_seconds{" + chosen + "})", name}}},
		{"Records not in Lance", "short", "", []Query{level("persisting_buffer_size")}},
		{"Bytes not in Lance", "bytes", "", []Query{level("persisting_buffer_bytes")}},
		{"Since the last flush", "s", "", []Query{{"time() - max by (topic, bucket) (persisting_last_flush_timestamp_seconds{" + chosen + "} > 0)", name}}},
		{"Time of a flush", "s", "", quantiles("persisting_flush_duration_seconds")},
		{"Time of a compaction", "s", "", quantiles("persisting_compaction_duration_seconds")},
	}},
	{"Write-ahead log", []Panel{
		{"Size", "bytes", "", []Query{level("persisting_wal_size_bytes")}},
		{"Files", "short", "", []Query{level("persisting_wal_segments")}},
		{"Time of a sync", "s", "", quantiles("persisting_wal_fsync_duration_seconds")},
		{"Appends per write", "short", "", quantiles("persisting_wal_group_appends")},
		{"Bytes written", "Bps", "", []Query{{"sum by (target) (rate(persisting_written_bytes_total{" + chosen + "}[$__rate_interval]))", "{{target}}"}}},
	}},
	{"Table", []Panel{
		{"Fragments", "short", "", []Query{level("persisting_fragments")}},
		{"Versions", "short", "", []Query{level("persisting_table_versions")}},
		{"Size", "bytes", "", []Query{level("persisting_table_size_bytes")}},
		{"Indexes", "short", "", []Query{level("persisting_indexes")}},
		{"Index lag", "rows", "Records in Lance that an index lacks, of the index that lacks most.", []Query{{"max by (topic, bucket) (persisting_index_lag_rows{" + chosen + "})", name}}},
		{"Time of indexing", "s", "", quantiles("persisting_index_duration_seconds")},
		{"Bytes written per byte put", "short", "Log, table and compactions.", []Query{level("persisting_write_amplification")}},
		{"Page cache hits", "percentunit", "", []Query{{
			"sum(rate(persisting_page_cache_reads_total{" + chosen + `,result="hit"}[$__rate_interval])) / (sum(rate(persisting_page_cache_reads_total{` + chosen + "}[$__rate_interval])) > 0)", "hits",
		}}},
	}},
	{"Stores of blocks", []Panel{
		{"Hits", "percentunit", "Share of the blocks asked for that were there.", []Query{{
			`sum by (store) (rate(persisting_kv_loads_total{` + stores + `,result="hit"}[$__rate_interval])) / (sum by (store) (rate(persisting_kv_loads_total{` + stores + "}[$__rate_interval])) > 0)", "{{store}}",
		}}},
		{"Loads", "ops", "", []Query{ofStores("persisting_kv_loads_total", "result")}},
		{"Sets", "ops", "", []Query{ofStores("persisting_kv_sets_total", "result")}},
		{"Bytes of blocks", "Bps", "", []Query{ofStores("persisting_kv_bytes_total", "operation")}},
		{"Time of a load", "s", "", storeQuantiles("persisting_kv_load_duration_seconds")},
		{"Time of a set", "s", "", storeQuantiles("persisting_kv_set_duration_seconds")},
		{"Blocks waiting", "short", "", []Query{{"sum by (queue) (persisting_kv_queue_length{" + stores + "})", "{{queue}}"}}},
		{"Bytes being stored", "bytes", "", []Query{{"sum by (store) (persisting_kv_backlog_bytes{" + stores + "})", "{{store}}"}}},
		{"Blocks", "short", "", []Query{{"sum by (store) (persisting_kv_keys{" + stores + "})", "{{store}}"}}},
		{"Sizes", "bytes", "", []Query{{"sum by (of) (persisting_kv_size_bytes{" + stores + "})", "{{of}}"}}},
		{"Blocks that went", "ops", "", []Query{ofStores("persisting_kv_removed_total", "reason")}},
		{"Bytes written per byte set", "short", "", []Query{{"max by (store) (persisting_kv_write_amplification{" + stores + "})", "{{store}}"}}},
		{"Failed writes", "ops", "", []Query{ofStores("persisting_kv_write_errors_total", "store")}},
		{"Open stores", "none", "", []Query{{`sum by (instance) (persisting_open_stores{instance=~"$instance"})`, "{{instance}}"}}},
	}},
	{"Stores of parameters", []Panel{
		{"Versions", "short", "", []Query{ofStore("persisting_params_versions", "store")}},
		{"Names", "short", "", []Query{ofStore("persisting_params_names", "store")}},
		{"Since the newest version", "s", "", []Query{{"time() - max by (store) (persisting_params_newest_timestamp_seconds{" + stores + "} > 0)", "{{store}}"}}},
		{"Tensors saved", "Bps", "By how they were stored.", []Query{ofStores("persisting_params_saved_bytes_total", "as")}},
		{"Bytes written", "Bps", "", []Query{ofStores("persisting_params_written_bytes_total", "store")}},
		{"Written of what was saved", "percentunit", "", []Query{share("persisting_params_written_bytes_total{"+stores+"}", "persisting_params_saved_bytes_total{"+stores+"}", "written")}},
		{"Read", "Bps", "", []Query{ofStores("persisting_params_read_bytes_total", "operation")}},
		{"Brought up to date", "Bps", "Tensors in memory, by pulls.", []Query{ofStores("persisting_params_pulled_bytes_total", "store")}},
		{"Time of saves, loads and pulls", "s", "", storeTimes("persisting_params_duration_seconds", "save", "load", "pull")},
		{"Time of many ranks", "s", "", storeTimes("persisting_params_duration_seconds", "part", "commit")},
		{"Time of verify and gc", "s", "", storeTimes("persisting_params_duration_seconds", "verify", "gc")},
		{"Sizes of parameters", "bytes", "", []Query{ofStore("persisting_params_size_bytes", "of")}},
		{"Versions that are open", "short", "", []Query{ofStore("persisting_params_open_versions", "store")}},
		{"Leases", "short", "", []Query{ofStore("persisting_params_leases", "store")}},
		{"Versions of many ranks under way", "short", "", []Query{ofStore("persisting_params_transactions", "store")}},
		{"Files removed by gc", "ops", "", []Query{ofStores("persisting_params_collected_files_total", "store")}},
		{"Bytes removed by gc", "Bps", "", []Query{ofStores("persisting_params_collected_bytes_total", "store")}},
		{"Errors of parameters", "ops", "", []Query{{"sum by (operation, kind) (rate(persisting_params_errors_total{" + stores + "}[$__rate_interval]))", "{{operation}}: {{kind}}"}}},
		{"Faults found by verify", "short", "", []Query{ofStore("persisting_params_verify_faults_total", "store")}},
		{"Open stores of parameters", "none", "", []Query{{`sum by (instance) (persisting_open_parameter_stores{instance=~"$instance"})`, "{{instance}}"}}},
	}},
	{"Stores of trajectories", []Panel{
		{"Episodes", "short", "", []Query{ofStore("persisting_trajectory_episodes", "state")}},
		{"Steps", "short", "", []Query{ofStore("persisting_trajectory_steps", "state")}},
		{"Steps in sheets", "short", "Acknowledged, and not stored yet.", []Query{ofStore("persisting_trajectory_sheet_steps", "store")}},
		{"Stored", "ops", "Steps and last observations.", []Query{ofStores("persisting_trajectory_appended_total", "row")}},
		{"Draws", "ops", "Steps, windows or groups.", []Query{ofStores("persisting_trajectory_draws_total", "store")}},
		{"Steps drawn", "ops", "", []Query{ofStores("persisting_trajectory_drawn_steps_total", "store")}},
		{"Time of samples", "s", "", storeTimes("persisting_trajectory_duration_seconds", "sample")},
		{"Time of appends", "s", "", storeTimes("persisting_trajectory_duration_seconds", "append")},
		{"Time of leases, acknowledgements and tags", "s", "", storeTimes("persisting_trajectory_duration_seconds", "lease", "ack", "tag")},
		{"Read from the mirror", "percentunit", "Share of the rows that samplers read.", []Query{share("persisting_trajectory_rows_read_total{"+stores+`,from="mirror"}`, "persisting_trajectory_rows_read_total{"+stores+"}", "mirror")}},
		{"Rows in the mirror, and beside it", "short", "", []Query{ofStore("persisting_trajectory_rows", "where")}},
		{"Sizes of trajectories", "bytes", "", []Query{ofStore("persisting_trajectory_size_bytes", "of")}},
		{"Behind", "short", "Steps that the sampler with an order that drew last has before it.", []Query{ofStore("persisting_trajectory_behind_steps", "store")}},
		{"Batches given out and acknowledged", "ops", "", []Query{
			{"sum(rate(persisting_trajectory_leases_total{" + stores + "}[$__rate_interval]))", "given out"},
			{"sum(rate(persisting_trajectory_acks_total{" + stores + "}[$__rate_interval]))", "acknowledged"},
		}},
		{"Steps given out", "ops", "", []Query{ofStores("persisting_trajectory_leased_steps_total", "store")}},
		{"Not acknowledged", "short", "", []Query{
			{"sum(persisting_trajectory_pending_batches{" + stores + "})", "batches"},
			{"sum(persisting_trajectory_pending_steps{" + stores + "})", "steps"},
		}},
		{"Priorities", "ops", "", []Query{ofStores("persisting_trajectory_priorities_total", "store")}},
		{"Tags", "short", "", []Query{ofStore("persisting_trajectory_tags", "store")}},
		{"Errors of trajectories", "ops", "", []Query{{"sum by (operation, kind) (rate(persisting_trajectory_errors_total{" + stores + "}[$__rate_interval]))", "{{operation}}: {{kind}}"}}},
		{"Open stores of trajectories", "none", "", []Query{{`sum by (instance) (persisting_open_trajectory_stores{instance=~"$instance"})`, "{{instance}}"}}},
	}},
	{"Memory and recovery", []Panel{
		{"Memory of rows", "bytes", "", []Query{{"sum by (owner) (persisting_memory_bytes{" + chosen + "})", "{{owner}}"}}},
		{"Memory budget", "bytes", "What the rows of all buckets of a process take, and may take.", []Query{
			{`sum by (instance) (persisting_memory_budget_used_bytes{instance=~"$instance"})`, "{{instance}}"},
			{`sum by (instance) (persisting_memory_budget_bytes{instance=~"$instance"})`, "budget of {{instance}}"},
		}},
		{"Memory of the engine", "bytes", "", []Query{{`sum by (owner) (persisting_process_memory_bytes{instance=~"$instance"})`, "{{owner}}"}}},
		{"Handles", "short", "", []Query{{`sum by (instance) (persisting_open_handles{instance=~"$instance"})`, "{{instance}}"}}},
		{"Recovered", "short", "When the buckets that are open now were opened.", []Query{
			{"sum(persisting_replayed_records_total{" + chosen + "})", "records replayed"},
			{"sum(persisting_wal_torn_bytes_total{" + chosen + "})", "bytes cut off the log"},
			{"sum(persisting_healed_manifests_total{" + chosen + "})", "versions set aside"},
			{"sum(persisting_lost_records_total{" + chosen + "})", "records lost"},
		}},
		{"Time to open", "s", "", []Query{
			{`sum(persisting_recovery_duration_seconds_sum{instance=~"$instance"}) / (sum(persisting_recovery_duration_seconds_count{instance=~"$instance"}) > 0)`, "mean"},
		}},
		{"Log messages dropped", "ops", "", []Query{{`sum by (instance) (rate(persisting_log_messages_dropped_total{instance=~"$instance"}[$__rate_interval]))`, "{{instance}}"}}},
		{"Version", "none", "", []Query{{`count by (version) (persisting_build_info{instance=~"$instance"})`, "{{version}}"}}},
	}},
}
