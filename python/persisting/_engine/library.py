"""The library of the engine: loading it and calling it.

What its functions are is said by `capi/persisting.h`, from which `boundary` and `functions` are
made; the objects that call them are in the modules of their nouns.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import sys
import threading
from collections.abc import Mapping
from ctypes import byref
from pathlib import Path
from typing import Any

import pyarrow as pa

from persisting._engine.boundary import ABI_VERSION, PROTOTYPES, ArrowArray, ArrowSchema, Error
from persisting._errors import PersistingError, error_for

LIBRARY = (
    Path(__file__).parent.parent
    / "_lib"
    / ("libpersisting.dylib" if sys.platform == "darwin" else "libpersisting.so")
)
# Of Lance, which the engine loads when it is needed: what is not there is better told at once.
NATIVE_LIBRARY = LIBRARY.with_stem("libpersisting_native")


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
    if not NATIVE_LIBRARY.exists():
        raise ImportError(f"the engine {LIBRARY} needs {NATIVE_LIBRARY}, which is not there")
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError as reason:
        raise ImportError(f"the engine {LIBRARY} cannot be loaded: {reason}") from reason
    built_for = ctypes.c_uint32()
    error = Error()
    if declared(loaded, "persisting_abi_version")(byref(built_for), error):
        raise exception(error)
    if built_for.value != ABI_VERSION:
        raise ImportError(
            f"{LIBRARY} has ABI version {built_for.value}, this package needs {ABI_VERSION}: "
            "install both from one release"
        )
    return loaded


def declared(loaded: ctypes.CDLL, name: str) -> Any:
    """Return a function of the library, which takes and returns what the header says."""
    function = getattr(loaded, name, None)
    if function is None:
        raise ImportError(f"{LIBRARY} has no function {name}: it is not the engine of this package")
    function.argtypes = (*PROTOTYPES[name], ctypes.POINTER(Error))
    function.restype = ctypes.c_int32
    return function


class Functions:
    """The functions of the library by name, each looked up when it is first called.

    To look all of them up takes a process longer than to load the library.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in PROTOTYPES:
            raise AttributeError(f"the engine has no function {name}")
        function = declared(library(), name)
        setattr(self, name, function)
        return function


c = Functions()


def exception(error: Error) -> PersistingError:
    """Make the exception of an error, which is given back."""
    message = (error.message or b"").decode(errors="replace")
    code, detail = error.code, error.detail
    if error.release:
        release_error(error.release)(error)
    return error_for(code, message, detail)


def taken(text: ctypes.c_char_p) -> str:
    """Return a string of the library, which is given back."""
    try:
        return (text.value or b"").decode()
    finally:
        c.persisting_string_free(text, None)


def schema_in(out: ArrowSchema) -> pa.Schema:
    """Take over the columns that a call gave out."""
    return pa.Schema._import_from_c(ctypes.addressof(out))


def as_json(value: Any) -> bytes:
    """Write JSON; the library refuses by name what members of an object JSON cannot hold."""
    if isinstance(value, Mapping):
        value = {
            name: repr(member)
            if isinstance(member, float) and not math.isfinite(member)
            else member
            for name, member in value.items()
        }
    return json.dumps(value, default=repr).encode()
