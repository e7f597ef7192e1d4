package atfork

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static int* held; // descriptors that a child closes
static size_t count, room;

static void before(void) { pthread_mutex_lock(&guard); }

static void in_parent(void) { pthread_mutex_unlock(&guard); }

static void in_child(void) {
  for (size_t i = 0; i < count; i++) close(held[i]);
  count = 0;
  pthread_mutex_unlock(&guard);
}

__attribute__((constructor)) static void watch(void) { pthread_atfork(before, in_parent, in_child); }

// Opens a file. No fork comes between that and the note of it. Returns the number of the error, 0 for none.
static int open_noted(const char* path, int flags, int mode, int* out) {
  int failed = 0;
  pthread_mutex_lock(&guard);
  if (count == room) {
    size_t more = room ? 2 * room : 16;
    int* grown = realloc(held, more * sizeof *held);
    if (grown) held = grown, room = more;
    else failed = ENOMEM;
  }
  if (!failed) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) failed = errno;
    else *out = held[count++] = fd;
  }
  pthread_mutex_unlock(&guard);
  return failed;
}

static int close_noted(int fd) {
  pthread_mutex_lock(&guard);
  for (size_t i = 0; i < count; i++) {
    if (held[i] == fd) {
      held[i] = held[--count];
      break;
    }
  }
  int failed = close(fd) < 0 ? errno : 0;
  pthread_mutex_unlock(&guard);
  return failed;
}

// Loads a library. Returns why it cannot be, which the caller frees.
static char* load_whole(const char* name, void** out) {
  pthread_mutex_lock(&guard);
  *out = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  char* why = *out ? NULL : strdup(dlerror());
  pthread_mutex_unlock(&guard);
  return why;
}
*/
import "C"

import (
	"errors"
	"io/fs"
	"syscall"
	"unsafe"
)

// Open opens a file and returns its descriptor, which a forked child closes and which only [Close] may close.
func Open(path string, flags int, mode uint32) (fd int, err error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var out C.int
	if failed := C.open_noted(name, C.int(flags), C.int(mode), &out); failed != 0 {
		return -1, &fs.PathError{Op: "open", Path: path, Err: syscall.Errno(failed)}
	}
	return int(out), nil
}

// Close closes a descriptor that Open returned.
func Close(fd int) error {
	if failed := C.close_noted(C.int(fd)); failed != 0 {
		return syscall.Errno(failed)
	}
	return nil
}

// Load loads a library of C for the life of the process. A fork waits for it: the loader of a child that was forked in the
// middle could load nothing more, which modules of Python are as well.
func Load(library string) (unsafe.Pointer, error) {
	name := C.CString(library)
	defer C.free(unsafe.Pointer(name))
	var loaded unsafe.Pointer
	why := C.load_whole(name, &loaded)
	defer C.free(unsafe.Pointer(why))
	if loaded == nil {
		return nil, errors.New(C.GoString(why))
	}
	return loaded, nil
}
