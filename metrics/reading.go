package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// column is a counter or a gauge that every bucket has, or every store.
type column struct {
	desc   *prometheus.Desc
	kind   Type
	number number
	scale  float64
	labels []*dto.LabelPair // those that are not of the bucket
}

// columns are the series of the metric that a bucket has, or a store.
func (d *Description) columns(desc *prometheus.Desc) []column {
	all := make([]column, len(d.series))
	for i, s := range d.series {
		all[i] = column{desc: desc, kind: d.Type, number: s.number, scale: cmp.Or(s.scale, 1)}
		for at, value := range s.labels {
			all[i].labels = append(all[i].labels, pair(d.Labels[at], value))
		}
	}
	return all
}

// pairs are the labels of each column with the labels l, in the order that Prometheus wants.
func (l labels) pairs(columns []column) [][]*dto.LabelPair {
	var own []*dto.LabelPair
	for name, value := range l.match() {
		own = append(own, pair(name, value))
	}
	all := make([][]*dto.LabelPair, len(columns))
	for i, c := range columns {
		all[i] = slices.Concat(own, c.labels)
		slices.SortFunc(all[i], func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	}
	return all
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// reading is the value of a column at one moment. It is a prometheus.Metric whose
// labels were made when the bucket was opened.
type reading struct {
	column *column
	labels []*dto.LabelPair
	value  float64
}

// Desc implements prometheus.Metric.
func (r *reading) Desc() *prometheus.Desc { return r.column.desc }

// Write implements prometheus.Metric.
func (r *reading) Write(out *dto.Metric) error {
	// Lent, and sorted when they were made: a scrape of a hundred buckets has some ten thousand
	// pairs.
	out.Label = r.labels
	if r.column.kind == CounterType {
		out.Counter = &dto.Counter{Value: &r.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &r.value}
	}
	return nil
}
