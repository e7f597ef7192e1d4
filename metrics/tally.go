package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tally is what a store counts when it is done with something: how often, how long, how much.
type tally struct {
	own   [countNumbers]atomic.Int64
	times map[Operation]prometheus.Observer
}

// done counts and times an operation that succeeded, or counts one that failed where there is a kind.
func (t *tally) done(o Operation, took time.Duration, failed Kind) {
	if failed != "" {
		t.add(errorNumber(o, failed), 1)
		return
	}
	t.times[o].Observe(took.Seconds())
}

// unsurveyed counts a survey that failed, unless that was refused because the store was closed meanwhile.
func (t *tally) unsurveyed(failed Kind) {
	if failed != Refused {
		t.add(errorNumber(Survey, failed), 1)
	}
}

func (t *tally) add(n number, by int64) { t.own[n].Add(by) }

// read is all that was counted.
func (t *tally) read() (n numbers) {
	for i := range t.own {
		n[i] = float64(t.own[i].Load())
	}
	return n
}

// faults is how many operations failed by what wants a person: damage, and a disk that fails.
func (t *tally) faults() (sum int64) {
	for i, p := range errorPairs {
		if p.kind == Corrupt || p.kind == Storage {
			sum += t.own[firstError+number(i)].Load()
		}
	}
	return sum
}
