//go:build !linux

package wal

import "runtime"

// yieldProcessor lets another goroutine run, which is all that can be done everywhere.
func yieldProcessor() { runtime.Gosched() }
