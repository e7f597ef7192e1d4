package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Family is a metric with all its series, for programs that would rather not
// parse text.
type Family struct {
	Name    string   `json:"name"`
	Type    Type     `json:"type"`
	Help    string   `json:"help"`
	Samples []Sample `json:"samples"`
}

// Sample is one series: a value, or the count, sum and buckets of a histogram. By pointers, as a 0 is to be seen in
// the JSON, and what a series does not have is not.
type Sample struct {
	Labels  map[string]string `json:"labels"`
	Value   *float64          `json:"value,omitempty"`
	Count   *uint64           `json:"count,omitempty"`
	Sum     *float64          `json:"sum,omitempty"`
	Buckets []Bound           `json:"buckets,omitempty"` // but for the last, which is Count
}

// Bound is how many observations were at most so large.
type Bound struct {
	UpTo  float64 `json:"le"`
	Count uint64  `json:"count"`
}

// Families gathers all metrics.
func Families(g prometheus.Gatherer) ([]Family, error) {
	gathered, err := g.Gather()
	if err != nil {
		return nil, err
	}
	// From what Prometheus would get, so that this answer and that of the server can never differ.
	all := make([]Family, 0, len(gathered))
	for _, f := range gathered {
		family := Family{Name: f.GetName(), Help: f.GetHelp(), Type: GaugeType}
		for _, m := range f.Metric {
			s := Sample{Labels: map[string]string{}}
			for _, l := range m.Label {
				s.Labels[l.GetName()] = l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				family.Type, s.Value = CounterType, m.Counter.Value
			case dto.MetricType_HISTOGRAM:
				family.Type, s.Count, s.Sum = HistogramType, m.Histogram.SampleCount, m.Histogram.SampleSum
				for _, b := range m.Histogram.Bucket {
					s.Buckets = append(s.Buckets, Bound{b.GetUpperBound(), b.GetCumulativeCount()})
				}
			default: // nothing else is described
				s.Value = m.Gauge.Value
			}
			family.Samples = append(family.Samples, s)
		}
		all = append(all, family)
	}
	return all, nil
}
