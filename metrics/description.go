package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Type is the type of a metric.
type Type string

// The types.
const (
	CounterType   Type = "counter"
	GaugeType     Type = "gauge"
	HistogramType Type = "histogram"
)

// Description says what a metric is.
type Description struct {
	Name   string
	Type   Type
	Of     Noun     // what has such a series, and with it the labels topic and bucket, or store
	Labels []string // and these
	Help   string   // one line, as a scrape shows it
	Notes  string   // more for the reference page

	buckets []float64 // of a histogram
	series  []series  // of a counter or gauge of a bucket or a store, each with values of Labels
}

// series is a number of a bucket or a store as a metric shows it.
type series struct {
	number number
	labels []string
	scale  float64 // 0 is 1
}

// MaxBuckets is the number of buckets open at a time that have series of their own, and that of stores of each kind.
const MaxBuckets = 100

const nano = 1e-9

// The bounds of classic histograms, in seconds: of what memory can answer, of a sync of a disk, and of work
// that goes over a table. They are close together where most observations are. Scrapers that know native
// histograms get those, with bounds 10 % apart.
var (
	shortTimes = []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1, 5}
	syncTimes  = []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3, 128e-3, 512e-3, 2}
	longTimes  = []float64{1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10, 30, 120}
	sizes      = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
)

// PutSample is how many puts there are for each one that is timed: a put of a small record takes so little that
// two looks at the clock would be a part of it that is seen.
const PutSample = 16

// AllLabels are the names of the labels of the metric.
func (d *Description) AllLabels() []string {
	return append(d.Of.own(), d.Labels...)
}

func (d *Description) desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.AllLabels(), nil)
}

func (d *Description) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: d.Name, Help: d.Help, Buckets: d.buckets,
		// As close as quantiles want them, and so many at most: every open bucket has its own.
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 100,
	}, d.AllLabels())
}

// errorSeries are the series of errorPairs of some operations, in the order in which errorNumber counts them.
func errorSeries(of ...Operation) []series {
	var all []series
	for i, p := range errorPairs {
		if slices.Contains(of, p.operation) {
			all = append(all, series{number: firstError + number(i), labels: []string{string(p.operation), string(p.kind)}})
		}
	}
	return all
}
