package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// noun is what has series of its own.
type noun int

const (
	aBucket noun = iota
	aStore
	nouns
)

// labels are those of a bucket, or of a store, which has no topic. They are compared, and are the key of a group, so
// they hold no map.
type labels struct {
	noun        noun
	topic, name string
}

// match are the labels by their names.
func (l labels) match() prometheus.Labels {
	if l.noun == aStore {
		return prometheus.Labels{"store": l.name}
	}
	return prometheus.Labels{"topic": l.topic, "bucket": l.name}
}

// other are the labels of those beyond the limit.
func (n noun) other() labels {
	if n == aStore {
		return labels{noun: n, name: "other"}
	}
	return labels{n, "other", "other"}
}
