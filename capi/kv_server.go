package main

// #include "shim.h"
import "C"

import (
	"fmt"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/remote"
)

//export persistingKvConnectGo
func persistingKvConnectGo(address, options *C.char, out *C.persisting_kv, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("address", address), arg("connect_options", options), arg("out_kv", out)); err != nil {
			return err
		}
		var o remote.ConnectOptions
		if err := parseJSON("connect_options", []byte(C.GoString(options)), &o); err != nil {
			return err
		}
		c, err := remote.Connect(C.GoString(address), o)
		if err != nil {
			return err
		}
		*out = C.persisting_kv(handles.add(kindKV, c))
		return nil
	})
}

//export persistingKvServeGo
func persistingKvServeGo(id C.persisting_kv, options *C.char, out *C.persisting_kv_server, e *C.struct_persisting_error) C.persisting_status {
	return onKV(id, e, func(s kv.Blocks) error {
		store, ok := s.(*kv.Store)
		if !ok {
			return fmt.Errorf("%w: kv is a connection to a server, and cannot be served", errArgument)
		}
		var o remote.ServeOptions
		if err := parseJSON("serve_options", []byte(C.GoString(options)), &o); err != nil {
			return err
		}
		v, err := remote.Serve(store, o)
		if err != nil {
			return err
		}
		*out = C.persisting_kv_server(handles.add(kindKVServer, v))
		return nil
	}, arg("serve_options", options), arg("out_kv_server", out))
}

//export persistingKvServerAddressesGo
func persistingKvServerAddressesGo(id C.persisting_kv_server, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_json", out)); err != nil {
			return err
		}
		return with(kindKVServer, uint64(id), func(v openKVServer) error { return toJSON(v.Addresses(), out) })
	})
}

//export persistingKvServerCloseGo
func persistingKvServerCloseGo(id C.persisting_kv_server, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindKVServer, uint64(id), (*remote.Server).Close) })
}
