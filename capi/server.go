package main

import (
	"fmt"

	"github.com/persisting/persisting/metrics/exporter"
)

var (
	serverAddress = succeeds((*exporter.Server).Address)
	serverClose   = (*exporter.Server).Close
)

// serverStart says of every fault that it is the caller's: an address that is taken, or a file of TLS that is not there, is for
// him to change.
func serverStart(options []byte) (*exporter.Server, error) {
	o, err := exporter.ParseOptions(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArgument, err)
	}
	s, err := exporter.Start(o, exporter.Source{
		Gatherer: registry, Set: buckets, Version: release, Logger: messages.Logger("server"),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArgument, err)
	}
	return s, nil
}
