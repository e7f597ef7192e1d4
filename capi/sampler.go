package main

import (
	"math"
	"time"

	"github.com/persisting/persisting/engine/trajectory"
)

var (
	samplerPosition = (*trajectory.Sampler).Position
	samplerRefresh  = (*trajectory.Sampler).Refresh
)

func samplerOpen(s *trajectory.Store, text []byte) (*trajectory.Sampler, error) {
	var law trajectory.Law
	if err := parseJSON("law", text, &law); err != nil {
		return nil, err
	}
	return s.Sampler(law)
}

func samplerSample(p *trajectory.Sampler, draws, oldest int64, into []int64) (int, error) {
	return p.Sample(draws, oldest, into)
}

// timeLimit is a time in nanoseconds, of which a negative one is without end.
func timeLimit(ns int64) time.Duration {
	if ns < 0 {
		return math.MaxInt64
	}
	return time.Duration(ns)
}

func samplerWait(p *trajectory.Sampler, draws, timeoutNs int64) error {
	return p.Wait(draws, timeLimit(timeoutNs))
}

func samplerWaitForRoom(p *trajectory.Sampler, count, timeoutNs int64) error {
	return p.WaitForRoom(count, timeLimit(timeoutNs))
}

// samplerClose has nothing to give back: what a sampler reads from is its store's.
func samplerClose(*trajectory.Sampler) error { return nil }
