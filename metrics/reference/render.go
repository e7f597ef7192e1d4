package reference

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/persisting/persisting/metrics"
)

// Files returns the content of each file in docs/, by its path there.
func Files() map[string]string {
	return map[string]string{
		"metrics.md":              page(),
		"grafana/persisting.json": dashboard(),
		"prometheus/alerts.yml":   rules(),
	}
}

func page() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Metrics

What the engine tells Prometheus. The engine counts by itself while `+"`enable_metrics`"+` is on; this is how the
numbers get out:

`+"```python"+`
from persisting import metrics

metrics.start_http_server(port=9641)  # /metrics for Prometheus, / for people
metrics.exposition()  # the text format
metrics.collect()  # the same as data
metrics.register()  # into the registry of prometheus_client
metrics.push_at_exit("http://gateway:9091", job="train")
`+"```"+`

The server is part of the engine: it takes no GIL, listens on the loopback interface unless
`+"`allow_remote=True`"+`, and has TLS (`+"`cert_file`, `key_file`"+`) and basic authentication (`+"`username`, `password`"+`),
which without TLS sends the password as it is. It only answers GET and HEAD, has 64 connections at a time, refuses
requests with a body or more than 16 KiB of header, and gives a client 5 seconds to ask and 15 to have read the answer.
On the loopback interface it answers to names of this machine only. An answer at `+"`/metrics`"+` is given again for 0.1
seconds, and for 100 times as long as it took to make, which is about a second with 64 buckets.

`+"`stats()[\"metrics\"]` and `get_metrics()`"+` of a backend are the same numbers of one bucket.

[grafana/persisting.json](grafana/persisting.json) is a dashboard for Grafana,
[prometheus/alerts.yml](prometheus/alerts.yml) are the alert rules below.

## Labels

Metrics of a bucket have the labels `+"`topic`"+`, the directory in which the bucket lies, and `+"`bucket`"+`, its name there.
%d buckets open at a time have series of their own. Those opened beyond share one set of
series with `+"`topic=\"other\",bucket=\"other\"`"+`: sums, but for `+"`persisting_lag_seconds`, `persisting_index_lag_rows` and"+`
`+"`persisting_last_flush_timestamp_seconds`"+`, which are the largest of them. The series of a bucket end when it
is closed.

Metrics of a store of blocks ([kv.md](kv.md)), of parameters ([params.md](params.md)) or of trajectories
([trajectories.md](trajectories.md)) have the label `+"`store`"+`, its directory; for each kind the same is true. What they say of a directory
of parameters is what is there, whichever process did it; all else is of this process. The two buckets of a store of
trajectories have metrics of buckets besides, with the store as their topic.

## Of each bucket

`, metrics.MaxBuckets)
	table(&b, metrics.OfBucket)
	b.WriteString("\n## Of each store of blocks\n\n")
	table(&b, metrics.OfBlocks)
	b.WriteString("\n## Of each store of parameters\n\n")
	table(&b, metrics.OfParameters)
	b.WriteString("\n## Of each store of trajectories\n\n")
	table(&b, metrics.OfTrajectories)
	b.WriteString("\n## Of the process\n\n")
	table(&b, metrics.OfProcess)
	b.WriteString(`
Histograms have classic buckets, which dashboard and alert rules use. A Prometheus that scrapes native histograms
gets those as well, with bounds 10 % apart; let it keep the classic ones (` + "`always_scrape_classic_histograms`" + `,
` + "`scrape_classic_histograms`" + ` before 3.0).

## Alerts
`)
	for _, a := range Alerts {
		fmt.Fprintf(&b, "\n### %s\n\n`%s` for %s (%s)\n\n%s\n", a.Name, a.Expr, a.For, a.Severity, a.Action)
	}
	b.WriteString(logsAndTraces)
	return b.String()
}

const logsAndTraces = `
## Logs and traces

The engine logs to ` + "`persisting.engine`, `persisting.wal` and `persisting.server`" + ` of Python's ` + "`logging`" + `. A message below
the level of its logger is not made; a level that is changed counts within a second. What belongs to a message is
in its text and, as a dict, in ` + "`record.attributes`" + `. The engine never waits for a handler: 1,024 messages wait, further
ones are dropped and counted. A bucket that a backend could not open is an ERROR of ` + "`persisting.engine`" + `, with its
directory and the reason: Pulsing tells its callers no more than "Actor dropped".

In a program that has set up OpenTelemetry (` + "`trace.set_tracer_provider`" + `) there are spans of what it
asks for, ` + "`persisting.put`, `persisting.flush`, `persisting.compaction`, `persisting.index` and `persisting.recovery`" + ` (the
opening of a bucket), children of its current span. So are flushes on the way to what it asks for, such as those before
queries. What the engine flushes, compacts and indexes of its own accord are roots. Without a provider a put does nothing
for spans.
`

func table(b *strings.Builder, of metrics.Noun) {
	b.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	for i := range metrics.Descriptions {
		d := &metrics.Descriptions[i]
		if d.Of != of {
			continue
		}
		labels := make([]string, 0, len(d.Labels))
		for _, l := range d.Labels {
			labels = append(labels, "`"+l+"`")
		}
		text := d.Help
		if d.Notes != "" {
			text += " " + d.Notes
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(labels, ", "), text)
	}
}

func rules() string {
	var b strings.Builder
	b.WriteString("# Alert rules for Prometheus, made from the list in metrics/reference.\ngroups:\n  - name: persisting\n    rules:\n")
	for _, a := range Alerts {
		fmt.Fprintf(&b, "      - alert: %s\n        expr: %s\n        for: %s\n        labels:\n          severity: %s\n        annotations:\n          summary: %s\n          description: %s\n",
			a.Name, quoted(a.Expr), a.For, a.Severity, quoted(a.Summary), quoted(a.Action))
	}
	return b.String()
}

// quoted is a string in YAML. Between single quotes nothing but themselves means anything, and expressions are full of
// the double ones.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

type object = map[string]any

func dashboard() string {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	var panels []object
	id, y := 0, 0
	add := func(p object) {
		id++
		p["id"] = id
		panels = append(panels, p)
	}
	const width, height, columns = 8, 7, 3 // of Grafana's grid, which is 24 wide
	for _, row := range Rows {
		add(object{"type": "row", "title": row.Title, "collapsed": false, "panels": []object{}, "gridPos": object{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		for i, p := range row.Panels {
			var targets []object
			for j, q := range p.Queries {
				targets = append(targets, object{"refId": string(rune('A' + j)), "expr": q.Expr, "legendFormat": q.Legend, "datasource": source})
			}
			add(object{
				"type": "timeseries", "title": p.Title, "description": p.Notes, "datasource": source, "targets": targets,
				"fieldConfig": object{"defaults": object{"unit": p.Unit, "min": 0}, "overrides": []object{}},
				"options":     object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi"}},
				"gridPos":     object{"x": i % columns * width, "y": y + i/columns*height, "w": width, "h": height},
			})
		}
		y += (len(row.Panels) + columns - 1) / columns * height
	}
	variable := func(name, label, query string) object {
		return object{
			"type": "query", "name": name, "label": label, "datasource": source, "query": object{"query": query, "refId": name},
			"definition": query, "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*",
			"current": object{"text": "All", "value": "$__all"}, "sort": 1,
		}
	}
	// The uid stays, so that whoever imports a newer dashboard has it in place of the older one.
	text, err := json.MarshalIndent(object{
		"uid": "persisting", "title": "Persisting", "tags": []string{"persisting"}, "schemaVersion": 39, "editable": true,
		"refresh": "10s", "time": object{"from": "now-1h", "to": "now"}, "panels": panels,
		"templating": object{"list": []object{
			{"type": "datasource", "name": "datasource", "label": "Source", "query": "prometheus"},
			variable("instance", "Instance", "label_values(persisting_build_info, instance)"),
			variable("store", "Store", `label_values({__name__=~"persisting_kv_keys|persisting_params_versions|persisting_trajectory_tags",instance=~"$instance"}, store)`),
			variable("topic", "Topic", `label_values(persisting_rows{instance=~"$instance"}, topic)`),
			variable("bucket", "Bucket", `label_values(persisting_rows{instance=~"$instance",topic=~"$topic"}, bucket)`),
		}},
	}, "", "  ")
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot hold
	}
	return string(text) + "\n"
}
