// Package metrics counts and times what buckets and stores of blocks, parameters and trajectories do, for Prometheus.
//
// A [Set] is one prometheus.Collector for all buckets and stores of a process; the
// caller registers it. A bucket takes its part with [Set.Bucket] when it is open and
// gives it back with [Bucket.Close], a store with [Set.Store], [Set.Parameters] or [Set.Trajectories] and its own Close. What a
// scrape says and what the statistics of a bucket say come from the same numbers, see [Bucket.Snapshot].
//
// All that can be scraped is in [Descriptions], from which package reference
// makes the reference page, the dashboard and the alert rules.
//
// # Labels
//
// A store has the label store, its directory. A bucket has the labels
// topic, the directory in which it lies, and bucket, its name there. [MaxBuckets] buckets at a time have series of their own; those
// opened beyond share the series with topic and bucket "other", in which counters
// and most gauges are sums and ages are those of the worst bucket.
//
// The series of a bucket end when it is closed, unless [Set.Retain] asked for its
// last counts to stay.
//
// # Concurrency
//
// Everything may be called at any time. A scrape asks each bucket for its [State]
// and must not make it wait; counting takes an atomic addition, timing a few. What takes longer to find out, as it goes over a
// directory or over all episodes, is a survey in a goroutine of its own, for which a scrape waits a moment at most.
//
// # Layers
//
// Above nothing of the project. What counts something is given a [Bucket] or one of the stores, which do nothing where they are nil: so
// nobody asks whether metrics are on. Packages exporter and reference stand above it.
//
// # What a crash costs
//
// All counts. Prometheus takes the fall of a counter for a new beginning.
package metrics
