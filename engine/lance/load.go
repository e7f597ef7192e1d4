package lance

/*
#cgo LDFLAGS: -ldl
const char *native_calls(void *library);
*/
import "C"

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine/atfork"
)

const nativeLibrary = "libpersisting_native.so"

var (
	loading sync.Mutex
	loaded  atomic.Bool
)

// load brings in the native library, unless it is there. All that calls it comes after a load: by [native], or because it has a handle
// that another call has made.
func load() error {
	if loaded.Load() {
		return nil
	}
	loading.Lock()
	defer loading.Unlock()
	// A failure is not kept: that of a process which had too many files open may be over.
	if loaded.Load() {
		return nil
	}
	if err := Spare(); err != nil {
		return err
	}
	library, err := atfork.Load(nativeLibrary)
	if err != nil {
		return &Error{Op: "load", Msg: err.Error(), Err: ErrIO}
	}
	if missing := C.native_calls(library); missing != nil {
		msg := fmt.Sprintf("%s has no function %s: it is of another release than what needs it", nativeLibrary, C.GoString(missing))
		return &Error{Op: "load", Msg: msg, Err: ErrInternal}
	}
	loaded.Store(true)
	return nil
}

// Preload begins to load the native library, which takes a process ten milliseconds, and does not wait for it. Where it cannot be
// loaded, the call that needs it says so.
func Preload() {
	if !loaded.Load() {
		go func() { _ = load() }()
	}
}
