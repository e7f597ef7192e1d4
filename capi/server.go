package main

import (
	"fmt"

	"github.com/persisting/persisting/metrics/exporter"
)

var (
	serverAddress = succeeds((*exporter.Server).Address)
	serverClose   = (*exporter.Server).Close
)

func serverStart(options []byte) (*exporter.Server, error) {
	o, err := exporter.ParseOptions(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArgument, err)
	}
	s, err := exporter.Start(o, exporter.Source{
		Gatherer: registry, Set: buckets, Version: version, Logger: messages.Logger("server"),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArgument, err)
	}
	return s, nil
}
