"""The library of the engine: loading it and calling it.

What its functions are is said by `capi/persisting.h`, from which `boundary` is made; the calls
themselves are in the modules of their nouns.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import sys
import threading
from ctypes import byref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._engine.boundary import ABI_VERSION, PROTOTYPES, ArrowArray, Error, Usage
from persisting._errors import PersistingError, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIBRARY = (
    Path(__file__).parent.parent
    / "_lib"
    / ("libpersisting.dylib" if sys.platform == "darwin" else "libpersisting.so")
)


class Scratch(threading.local):
    """What a call writes its results to, made once for each thread."""

    def __init__(self) -> None:
        self.out = (ctypes.c_int64 * 2)()
        self.first = byref(self.out)
        self.second = byref(self.out, ctypes.sizeof(ctypes.c_int64))
        self.error = Error()
        self.array = ArrowArray()
        self.array_at = ctypes.addressof(self.array)

    def take_error(self) -> Error:
        """Return the error, and make room for the next."""
        error, self.error = self.error, Error()
        return error


scratch = Scratch()
release_error = ctypes.CFUNCTYPE(None, ctypes.POINTER(Error))
release_array = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype = ctypes.c_void_p
capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


@functools.cache
def library() -> ctypes.CDLL:
    """Load the library and hold its ABI version against this module's."""
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError as reason:
        raise ImportError(f"the engine {LIBRARY} cannot be loaded: {reason}") from reason
    for name, arguments in PROTOTYPES.items():
        function = getattr(loaded, name, None)
        if function is None:
            raise ImportError(
                f"{LIBRARY} has no function {name}: it is not the engine of this package"
            )
        function.argtypes = (*arguments, ctypes.POINTER(Error))
        function.restype = ctypes.c_int32
    built_for = ctypes.c_uint32()
    call(loaded.persisting_abi_version, byref(built_for))
    if built_for.value != ABI_VERSION:
        raise ImportError(
            f"{LIBRARY} has ABI version {built_for.value}, this package needs {ABI_VERSION}: "
            "install both from one release"
        )
    return loaded


def call(function: Any, *arguments: Any) -> None:
    """Call `function` and raise what it reports."""
    error = Error()
    if function(*arguments, error):
        raise exception(error)


def exception(error: Error) -> PersistingError:
    """Make the exception of an error, which is given back."""
    message = (error.message or b"").decode(errors="replace")
    code, detail = error.code, error.detail
    if error.release:
        release_error(error.release)(error)
    return error_for(code, message, detail)


def string(use: Callable[..., None], function: Any, *arguments: Any) -> str:
    """Have `use` call a function whose out-parameter, the last, is a string."""
    text = ctypes.c_char_p()
    use(function, *arguments, byref(text))
    try:
        return (text.value or b"").decode()
    finally:
        call(library().persisting_string_free, text)


def as_json(options: Mapping[str, Any]) -> bytes:
    """Write options as JSON; the library refuses by name what JSON cannot hold."""
    named = {
        name: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in options.items()
    }
    return json.dumps(named, default=repr).encode()


def version() -> str:
    """Return the version of the library."""
    return string(call, library().persisting_version)


def usage() -> tuple[int, int]:
    """Return the number of open handles and the Arrow bytes that the library allocated."""
    out = Usage()
    call(library().persisting_library_usage, byref(out))
    return out.handles, out.allocated_bytes


def set_memory_budget(size: int) -> None:
    """Bound the memory of all open buckets, in bytes."""
    call(library().persisting_library_set_memory_budget, size)
