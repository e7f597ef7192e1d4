// Package metrics holds the Prometheus collectors of a bucket.
//
// A [Bucket] is registered with an injected prometheus.Registerer once its
// bucket is open and unregistered when it closes. All collectors carry the label path,
// the directory of the bucket. Counters end in _total; units are seconds and
// bytes. What a counter says to Prometheus and what the statistics of a bucket
// say come from the same collector, see [Bucket.Snapshot].
package metrics
