package main

import "github.com/persisting/persisting/engine/trajectory"

var samplerPosition = (*trajectory.Sampler).Position

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

// samplerClose has nothing to give back: what a sampler reads from is its store's.
func samplerClose(*trajectory.Sampler) error { return nil }
