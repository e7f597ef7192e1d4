package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/kv"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/params"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// #include <stdlib.h>
// #include "shim.h"
import "C"

// The errors of this package itself, which every function of the header can return.
var (
	errArgument = errors.New("invalid argument")
	errHandle   = errors.New("invalid handle")
	errInternal = errors.New("internal error")
)

// panicked holds the text of the first panic outside of calls on a handle and on a
// directory, which are contained. What all handles share is then no longer to be
// trusted, and every call fails with that text.
var panicked atomic.Pointer[string]

// guard runs the Go half of a C function and turns what it returns, and any
// panic, into a status and *e, which may be nil.
func guard(e *C.struct_persisting_error, half func() error) (status C.persisting_status) {
	defer func() {
		if r := recover(); r != nil {
			text := fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
			panicked.CompareAndSwap(nil, &text)
			status = fail(e, fmt.Errorf("%w: %s", errInternal, text))
		}
	}()
	// Each call looks, since the one that panicked has told its own caller alone.
	if text := panicked.Load(); text != nil {
		return fail(e, fmt.Errorf("%w: the library is unusable after a %s", errInternal, *text))
	}
	if err := half(); err != nil {
		return fail(e, err)
	}
	return C.PERSISTING_OK
}

// contained is what f returns, for calls that share nothing with those that come
// after: a panic is an error of this one.
func contained[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", errInternal, r, debug.Stack())
		}
	}()
	return f()
}

// succeeds is a method that returns no error as one that returns nil.
func succeeds[H, T any](method func(H) T) func(H) (T, error) {
	return func(of H) (T, error) { return method(of), nil }
}

// succeedsBoth is succeeds for two results.
func succeedsBoth[H, T, U any](method func(H) (T, U)) func(H) (T, U, error) {
	return func(of H) (T, U, error) {
		t, u := method(of)
		return t, u, nil
	}
}

// fail fills *e, whose text the caller owns from then on, and returns the status.
func fail(e *C.struct_persisting_error, err error) C.persisting_status {
	// At the very end, where all errors pass: the advice about descriptors is right wherever they
	// ran out.
	err = lance.Advised(err)
	return C.shim_fail(e, statusOf(err), C.int64_t(detailOf(err)), C.CString(err.Error()))
}

// detailOf is the number of an error that has one; persisting.h says which do.
func detailOf(err error) int64 {
	var numbered interface{ Detail() int64 }
	if errors.As(err, &numbered) {
		return numbered.Detail()
	}
	return 0
}

// statuses maps errors to their status; the first that matches counts. It is here and not with the errors, as a number of the
// C interface is nothing that an engine knows of.
var statuses = []struct {
	err    error
	status C.persisting_status
}{
	{errInternal, C.PERSISTING_INTERNAL},
	{engine.ErrPanic, C.PERSISTING_INTERNAL},
	{errArgument, C.PERSISTING_INVALID_ARGUMENT},
	{errHandle, C.PERSISTING_INVALID_HANDLE},
	{engine.ErrMessage, C.PERSISTING_INVALID_ARGUMENT},
	{engine.ErrInvalid, C.PERSISTING_INVALID_ARGUMENT},
	{memory.ErrBudget, C.PERSISTING_INVALID_ARGUMENT},
	{kv.ErrInvalid, C.PERSISTING_INVALID_ARGUMENT},
	{kv.ErrPinned, C.PERSISTING_INVALID_ARGUMENT},
	{kv.ErrReadOnly, C.PERSISTING_INVALID_ARGUMENT},
	{kv.ErrNoStore, C.PERSISTING_NOT_FOUND},
	{kv.ErrCorrupt, C.PERSISTING_CORRUPT},
	{kv.ErrClosed, C.PERSISTING_CLOSED},
	{params.ErrInvalid, C.PERSISTING_INVALID_ARGUMENT},
	{params.ErrNotFound, C.PERSISTING_NOT_FOUND},
	{params.ErrConflict, C.PERSISTING_CONFLICT},
	{params.ErrClosed, C.PERSISTING_CLOSED},
	{trajectory.ErrInvalid, C.PERSISTING_INVALID_ARGUMENT},
	{trajectory.ErrNotFound, C.PERSISTING_NOT_FOUND},
	{trajectory.ErrConflict, C.PERSISTING_CONFLICT},
	{trajectory.ErrDuplicate, C.PERSISTING_DUPLICATE},
	{trajectory.ErrTooEarly, C.PERSISTING_TIMEOUT},
	{engine.ErrClosed, C.PERSISTING_CLOSED},
	{engine.ErrReadOnly, C.PERSISTING_READ_ONLY},
	{engine.ErrDisowned, C.PERSISTING_POISONED},
	{engine.ErrPoisoned, C.PERSISTING_POISONED},
	{engine.ErrWouldBlock, C.PERSISTING_WOULD_BLOCK},
	{context.DeadlineExceeded, C.PERSISTING_TIMEOUT},
	{engine.ErrName, C.PERSISTING_INVALID_ARGUMENT},
	{engine.ErrRemoved, C.PERSISTING_REMOVED},
	{engine.ErrNotFound, C.PERSISTING_NOT_FOUND},
	{engine.ErrNoBucket, C.PERSISTING_NOT_FOUND},
	{engine.ErrNoIndex, C.PERSISTING_NOT_FOUND},
	{engine.ErrNoTable, C.PERSISTING_NOT_FOUND},
	{segment.ErrCorrupt, C.PERSISTING_WAL},
	{segment.ErrForeign, C.PERSISTING_WAL},
	{segment.ErrUnsupportedVersion, C.PERSISTING_WAL},
	{segment.ErrTooLarge, C.PERSISTING_INVALID_ARGUMENT},
	{engine.ErrCorrupt, C.PERSISTING_CORRUPT},
}

// statusOf is the status of an error. What nothing else claims is the disk's: the rest that the engine passes on are errors of file
// operations.
func statusOf(err error) C.persisting_status {
	// In their order, as an error can match several: a panic may wrap anything, and a poisoned
	// bucket tells what poisoned it.
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	var (
		options *engine.OptionError
		sql     *engine.ExpressionError
		schema  *engine.SchemaError
		locked  *engine.LockedError
		gap     *wal.GapError
		kvs     *kv.OptionError
	)
	switch {
	case errors.As(err, &options), errors.As(err, &sql), errors.As(err, &kvs):
		return C.PERSISTING_INVALID_ARGUMENT
	case errors.As(err, &schema):
		return C.PERSISTING_SCHEMA
	case errors.As(err, &locked):
		return C.PERSISTING_LOCKED
	case errors.As(err, &gap):
		return C.PERSISTING_WAL
	}
	return C.PERSISTING_STORAGE
}

// need returns an error that names the first argument that is nil. It is for members of structs: what a function takes itself has
// been looked at in C, by the words of the header.
func need(arguments ...argument) error {
	for _, a := range arguments {
		if a.null {
			return fmt.Errorf("%w: %s is NULL", errArgument, a.name)
		}
	}
	return nil
}

type argument struct {
	name string
	null bool
}

func arg[T any](name string, p *T) argument { return argument{name, p == nil} }
