package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Noun is what has series of its own.
type Noun int

// The nouns.
const (
	OfProcess      Noun = iota // of which there is one, without labels
	OfBucket                   // of rows
	OfBlocks                   // a store of blocks
	OfParameters               // a store of parameters
	OfTrajectories             // a store of trajectories
	nouns
)

// own are the names of the labels that say which one it is.
func (n Noun) own() []string {
	switch n {
	case OfProcess:
		return nil
	case OfBucket:
		return []string{"topic", "bucket"}
	}
	return []string{"store"}
}

// labels are those of a bucket, or of a store, which has no topic. They are compared, and are the key of a group, so
// they hold no map.
type labels struct {
	noun        Noun
	topic, name string
}

// match are the labels by their names. Stores have one label, whatever is in them: the names of the metrics tell that.
func (l labels) match() prometheus.Labels {
	if l.noun == OfBucket {
		return prometheus.Labels{"topic": l.topic, "bucket": l.name}
	}
	return prometheus.Labels{"store": l.name}
}

// other are the labels of those beyond the limit.
func (n Noun) other() labels {
	if n == OfBucket {
		return labels{n, "other", "other"}
	}
	return labels{noun: n, name: "other"}
}
