package main

import (
	"fmt"

	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/kv/remote"
	"github.com/persisting/persisting/engine/wire"
)

var (
	kvServerAddresses = succeeds((*remote.Server).Addresses)
	kvServerClose     = (*remote.Server).Close
)

func kvConnect(address string, options []byte) (*remote.Client, error) {
	var o remote.ConnectOptions
	if err := parseJSON("connect_options", options, &o); err != nil {
		return nil, err
	}
	return remote.Connect(address, o)
}

func kvServe(s kv.Blocks, options []byte) (*remote.Server, error) {
	store, ok := s.(*kv.Store)
	if !ok {
		return nil, fmt.Errorf("%w: kv is a connection to a server, and cannot be served", errArgument)
	}
	var o wire.Options
	if err := parseJSON("serve_options", options, &o); err != nil {
		return nil, err
	}
	return remote.Serve(store, o)
}
