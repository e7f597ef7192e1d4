// Package exporter serves metrics and a status page over HTTP, read-only.
//
//	/metrics      for Prometheus: text, OpenMetrics or protobuf, as the scraper asks
//	/             a page for people, which draws
//	/status.json  the state of the open buckets
//
// It listens on the loopback interface unless another was asked for by
// [Options.AllowRemote]. A server takes GET and HEAD without a body, headers of
// at most 16 KiB within 5 s, and 64 connections at a time; further ones wait. The
// answer to a scrape is given again for 100 ms to those who ask for the same
// format. Nothing that a client does makes a bucket wait.
//
// # Layers
//
// Above metrics, whose set it shows; below capi, which starts and ends servers. It knows nothing of buckets.
//
// # Concurrency
//
// A goroutine of net/http for each connection, and one that accepts. An answer in one format is made by one of them at a time, while the
// others that want it wait. All methods of a [Server] may be called from any goroutine.
//
// # What a crash costs
//
// Nothing is kept. A scrape that is cut short is taken again by the scraper.
package exporter
