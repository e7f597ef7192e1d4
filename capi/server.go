package main

import (
	"fmt"

	"github.com/persisting/persisting/metrics/exporter"
)

// #include "shim.h"
import "C"

//export persistingServerStartGo
func persistingServerStartGo(options *C.char, out *C.persisting_server, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("server_options", options), arg("out_server", out)); err != nil {
			return err
		}
		o, err := exporter.ParseOptions([]byte(C.GoString(options)))
		if err != nil {
			return fmt.Errorf("%w: %w", errArgument, err)
		}
		s, err := exporter.Start(o, exporter.Source{
			Gatherer: registry, Set: buckets, Version: version, Logger: messages.Logger("server"),
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errArgument, err)
		}
		*out = C.persisting_server(handles.add(kindServer, s))
		return nil
	})
}

//export persistingServerAddressGo
func persistingServerAddressGo(id C.persisting_server, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_address", out)); err != nil {
			return err
		}
		return with(kindServer, uint64(id), func(s *exporter.Server) error {
			*out = C.CString(s.Address())
			return nil
		})
	})
}

//export persistingServerCloseGo
func persistingServerCloseGo(id C.persisting_server, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindServer, uint64(id), (*exporter.Server).Close) })
}
