package main

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/persisting/persisting/logs"
)

// messages are those of the library on their way to the caller.
var messages = logs.NewQueue()

// logLevels is the argument of persisting_log_levels.
type logLevels struct {
	Levels  map[string]int64 `json:"levels"`
	Tracing bool             `json:"tracing"`
}

//export persistingLogLevelsGo
func persistingLogLevelsGo(levels *C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("levels", levels)); err != nil {
			return err
		}
		var given logLevels
		d := json.NewDecoder(strings.NewReader(C.GoString(levels)))
		d.DisallowUnknownFields()
		if err := d.Decode(&given); err != nil {
			return fmt.Errorf("%w: levels: %w", errArgument, err)
		}
		if err := messages.SetLevels(given.Levels, given.Tracing); err != nil {
			return fmt.Errorf("%w: %w", errArgument, err)
		}
		return nil
	})
}

// logged is what persisting_log_next hands out.
type logged struct {
	Messages []logs.Message `json:"messages"`
	Dropped  int64          `json:"dropped"`
}

//export persistingLogNextGo
func persistingLogNextGo(longestNs C.int64_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("out_json", out)); err != nil {
			return err
		}
		ctx, cancel := context.Background(), func() {}
		if longestNs >= 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(longestNs))
		}
		defer cancel()
		waiting, dropped := messages.Next(ctx)
		return toJSON(logged{waiting, dropped}, out)
	})
}
