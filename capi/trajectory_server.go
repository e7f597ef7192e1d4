package main

import (
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/trajectory/remote"
	"github.com/persisting/persisting/engine/wire"
)

var (
	trajectoriesServerAddresses = succeeds((*remote.Server).Addresses)
	trajectoriesServerClose     = (*remote.Server).Close
)

func trajectoriesServe(s *trajectory.Store, options []byte) (*remote.Server, error) {
	var o wire.Options
	if err := parseJSON("serve_options", options, &o); err != nil {
		return nil, err
	}
	return remote.Serve(s, o, numbersOf, messages.Logger("engine"))
}

// numbersOf is what C callers are told of an error, for those that are other processes.
func numbersOf(err error) (code int32, detail int64) { return int32(statusOf(err)), detailOf(err) }
