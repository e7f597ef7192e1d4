// Package reference makes what people and Prometheus read about the metrics: the
// reference page, a Grafana dashboard and alert rules. All of it comes from
// metrics.Descriptions and from the lists of panels and alerts here, and a test
// holds the files in docs/ equal to it:
//
//	go test ./metrics/reference -update
//
// writes them.
//
// # Layers
//
// Above metrics. No program uses it but its test, which writes the files and holds them equal.
//
// # Concurrency
//
// There is nothing here that changes.
//
// # What a crash costs
//
// Nothing: the files are under version control, and made anew by one command.
package reference
