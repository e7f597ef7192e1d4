package main

import (
	"bytes"
	"fmt"

	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// buckets holds the metrics of all open buckets, registry what is exported. It is not Prometheus' own
// registry, which brings metrics of the Go runtime under names that this library does not promise.
var (
	buckets  = metrics.NewSet(release, processState)
	registry = prometheus.NewRegistry()
)

func init() { registry.MustRegister(buckets) }

// processState is asked at each scrape: what it tells changes with every call, and nobody has to be told of it in between.
func processState() metrics.Process {
	return metrics.Process{
		Handles: handles.live(), ArrowBytes: memory.Allocator.AllocatedBytes(),
		Budget: budget.Limit(), BudgetUsed: budget.Used(), LogDrops: messages.Dropped(),
	}
}

func metricsText() (string, error) {
	families, err := registry.Gather()
	if err != nil {
		return "", fmt.Errorf("%w: gather metrics: %w", errInternal, err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return "", fmt.Errorf("%w: write metrics: %w", errInternal, err)
		}
	}
	return text.String(), nil
}

func metricsJson() ([]metrics.Family, error) {
	families, err := metrics.Families(registry)
	if err != nil {
		return nil, fmt.Errorf("%w: gather metrics: %w", errInternal, err)
	}
	return families, nil
}

func metricsRetain(yes uint32) error {
	if yes > 1 {
		return fmt.Errorf("%w: yes is %d, want 0 or 1", errArgument, yes)
	}
	buckets.Retain(yes == 1)
	return nil
}
