package main

import (
	"fmt"

	"github.com/persisting/persisting/engine/kv"
)

var (
	kvServerAddresses = succeeds((*kv.Server).Addresses)
	kvServerClose     = (*kv.Server).Close
)

func kvConnect(address string, options []byte) (*kv.Client, error) {
	var o kv.ConnectOptions
	if err := parseJSON("connect_options", options, &o); err != nil {
		return nil, err
	}
	return kv.Connect(address, o)
}

func kvServe(s kv.Blocks, options []byte) (*kv.Server, error) {
	store, ok := s.(*kv.Store)
	if !ok {
		return nil, fmt.Errorf("%w: kv is a connection to a server, and cannot be served", errArgument)
	}
	var o kv.ServeOptions
	if err := parseJSON("serve_options", options, &o); err != nil {
		return nil, err
	}
	return store.Serve(o)
}
