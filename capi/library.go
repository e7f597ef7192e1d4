package main

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// version is set by the build.
var version = "0.0.0"

// buckets holds the metrics of all open buckets, registry what is exported.
var (
	buckets  = metrics.NewSet(version, processState)
	registry = prometheus.NewRegistry()
)

func init() { registry.MustRegister(buckets) }

func processState() metrics.Process {
	return metrics.Process{Handles: handles.live(), ArrowBytes: engine.AllocatedBytes()}
}

//export persistingAbiVersionGo
func persistingAbiVersionGo(out *C.uint32_t, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_version", out)); err != nil {
			return err
		}
		*out = C.PERSISTING_ABI_VERSION
		return nil
	})
}

//export persistingVersionGo
func persistingVersionGo(out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_version", out)); err != nil {
			return err
		}
		*out = C.CString(version)
		return nil
	})
}

//export persistingStringFreeGo
func persistingStringFreeGo(s *C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		C.free(unsafe.Pointer(s))
		return nil
	})
}

//export persistingLibraryUsageGo
func persistingLibraryUsageGo(out *C.struct_persisting_usage, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_usage", out)); err != nil {
			return err
		}
		out.handles = C.int64_t(handles.live())
		out.allocated_bytes = C.int64_t(engine.AllocatedBytes())
		return nil
	})
}

//export persistingMetricsTextGo
func persistingMetricsTextGo(out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_text", out)); err != nil {
			return err
		}
		families, err := registry.Gather()
		if err != nil {
			return fmt.Errorf("%w: gather metrics: %w", errInternal, err)
		}
		var text bytes.Buffer
		for _, f := range families {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				return fmt.Errorf("%w: write metrics: %w", errInternal, err)
			}
		}
		*out = C.CString(text.String())
		return nil
	})
}
