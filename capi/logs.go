package main

import (
	"context"
	"fmt"
	"time"

	"github.com/persisting/persisting/logs"
)

// messages are those of the library on their way to the caller.
var messages = logs.NewQueue()

// logLevels says of every fault that it is the caller's: what logs does not know is a name that he gave.
func logLevels(text []byte) error {
	var given struct {
		Levels  map[string]int64 `json:"levels"`
		Tracing bool             `json:"tracing"`
	}
	if err := parseJSON("levels", text, &given); err != nil {
		return err
	}
	if err := messages.SetLevels(given.Levels, given.Tracing); err != nil {
		return fmt.Errorf("%w: %w", errArgument, err)
	}
	return nil
}

// logged is what persisting_log_next hands out.
type logged struct {
	Messages []logs.Message `json:"messages"`
	Dropped  int64          `json:"dropped"`
}

func logNext(longestNs int64) (logged, error) {
	// Below zero is for ever: the thread of a caller that has nothing else to do.
	ctx, cancel := context.Background(), func() {}
	if longestNs >= 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(longestNs))
	}
	defer cancel()
	waiting, dropped := messages.Next(ctx)
	return logged{waiting, dropped}, nil
}
