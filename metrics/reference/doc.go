// Package reference makes what people and Prometheus read about the metrics: the
// reference page, a Grafana dashboard and alert rules. All of it comes from
// metrics.Descriptions and from the lists of panels and alerts here, and a test
// holds the files in docs/ equal to it:
//
//	go test ./metrics/reference -update
//
// writes them.
package reference
