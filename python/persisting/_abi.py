"""The library of the engine: loading it, calling it, holding its handles.

What its functions are is said by `capi/persisting.h` and, for ctypes, here; the calls
themselves are in `_native` and the modules that add to its `Bucket`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import math
import os
import sys
import threading
import warnings
import weakref
from ctypes import byref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._errors import ClosedError, InvalidHandleError, PersistingError, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

ABI_VERSION = 1

_LIBRARY = (
    Path(__file__).parent
    / "_lib"
    / ("libpersisting.dylib" if sys.platform == "darwin" else "libpersisting.so")
)


class _Error(ctypes.Structure):
    """`struct persisting_error`."""

    _fields_ = (
        ("code", ctypes.c_int32),
        ("message", ctypes.c_char_p),
        ("release", ctypes.c_void_p),
    )


class _Usage(ctypes.Structure):
    """`struct persisting_usage`."""

    _fields_ = (("handles", ctypes.c_int64), ("allocated_bytes", ctypes.c_int64))


class _ArrowSchema(ctypes.Structure):
    """Room for a `struct ArrowSchema`; only `release` is ever looked at."""

    _fields_ = (
        ("head", ctypes.c_void_p * 7),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


class _ArrowArray(ctypes.Structure):
    """Room for a `struct ArrowArray`; only `release` is ever looked at."""

    _fields_ = (
        ("head", ctypes.c_void_p * 8),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


class _Scratch(threading.local):
    """What a call writes its results to, made once for each thread."""

    def __init__(self) -> None:
        self.out = (ctypes.c_int64 * 2)()
        self.first = byref(self.out)
        self.second = byref(self.out, ctypes.sizeof(ctypes.c_int64))
        self.error = _Error()
        self.array = _ArrowArray()
        self.array_at = ctypes.addressof(self.array)

    def take_error(self) -> _Error:
        """Return the error, and make room for the next."""
        error, self.error = self.error, _Error()
        return error


_scratch = _Scratch()
_release_error = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Error))
_release_array = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_I64, _U64, _U32, _I32 = ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32
_PTR, _STR = ctypes.c_void_p, ctypes.c_char_p

# The arguments of each function but the last, which is the error.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "persisting_abi_version": (_PTR,),
    "persisting_version": (_PTR,),
    "persisting_string_free": (_PTR,),
    "persisting_library_usage": (_PTR,),
    "persisting_library_set_memory_budget": (_I64,),
    "persisting_metrics_text": (_PTR,),
    "persisting_metrics_json": (_PTR,),
    "persisting_metrics_retain": (_U32,),
    "persisting_server_start": (_STR, _PTR),
    "persisting_server_address": (_U64, _PTR),
    "persisting_server_close": (_U64,),
    "persisting_log_levels": (_STR,),
    "persisting_log_next": (_I64, _PTR),
    "persisting_bucket_open": (_STR, _STR, _PTR),
    "persisting_bucket_append": (_U64, _PTR, _PTR, _U32, _I64, _PTR, _PTR),
    "persisting_bucket_append_message": (_U64, _U64, _STR, _I64, _U32, _I64, _PTR, _PTR),
    "persisting_bucket_open_ring": (_U64, _U64, _PTR),
    "persisting_bucket_drain_ring": (_U64,),
    "persisting_bucket_acknowledged": (_U64, _PTR),
    "persisting_bucket_wait": (_U64, _I64, _I64),
    "persisting_bucket_set_bell": (_U64, _I32),
    "persisting_bucket_notify": (_U64, _I64),
    "persisting_bucket_read": (_U64, _I64, _I64, _U32, _PTR, _PTR),
    "persisting_bucket_get": (_U64, _I64, _I64, _PTR, _PTR),
    "persisting_bucket_take": (_U64, _PTR, _I64, _U32, _PTR, _PTR),
    "persisting_bucket_schema": (_U64, _PTR, _PTR),
    "persisting_bucket_flush": (_U64,),
    "persisting_bucket_compact": (_U64,),
    "persisting_bucket_stats": (_U64, _PTR),
    "persisting_bucket_close": (_U64,),
    "persisting_directory_verify": (_STR, _U32, _PTR),
    "persisting_directory_inspect": (_STR, _PTR),
    "persisting_directory_repair": (_STR, _U32, _PTR),
    "persisting_directory_clone": (_STR, _STR, _PTR),
    "persisting_directory_read": (_STR, _PTR, _PTR),
    "persisting_bucket_add_columns": (_U64, _PTR),
    "persisting_bucket_fill_column": (_U64, _PTR, _PTR),
    "persisting_bucket_compute_column": (_U64, _PTR, _STR),
    "persisting_bucket_drop_column": (_U64, _STR),
    "persisting_bucket_rename_column": (_U64, _STR, _STR),
    "persisting_bucket_cast_column": (_U64, _PTR),
    "persisting_bucket_declare": (_U64, _PTR),
    "persisting_bucket_delete": (_U64, _STR, _PTR),
    "persisting_bucket_truncate_before": (_U64, _I64, _PTR),
    "persisting_bucket_first_from": (_U64, _I64, _PTR),
    "persisting_bucket_commit": (_U64, _STR, _I64),
    "persisting_bucket_consumers": (_U64, _PTR),
    "persisting_bucket_versions": (_U64, _PTR),
    "persisting_bucket_tag": (_U64, _STR, _U64),
    "persisting_bucket_untag": (_U64, _STR),
    "persisting_bucket_restore": (_U64, _U64),
    "persisting_view_open": (_U64, _U64, _PTR),
    "persisting_view_schema": (_U64, _PTR),
    "persisting_view_rows": (_U64, _PTR, _PTR),
    "persisting_view_read": (_U64, _I64, _I64, _U32, _PTR),
    "persisting_view_query": (_U64, _STR, _PTR, _I64, _PTR),
    "persisting_view_count": (_U64, _STR, _PTR),
    "persisting_view_explain": (_U64, _STR, _PTR, _I64, _PTR),
    "persisting_view_close": (_U64,),
    "persisting_bucket_query": (_U64, _STR, _PTR, _I64, _PTR),
    "persisting_bucket_count": (_U64, _STR, _PTR),
    "persisting_bucket_explain": (_U64, _STR, _PTR, _I64, _PTR),
    "persisting_bucket_create_index": (_U64, _STR),
    "persisting_bucket_drop_index": (_U64, _STR),
    "persisting_bucket_indexes": (_U64, _PTR),
    "persisting_bucket_index_stats": (_U64, _STR, _PTR),
    "persisting_columns_import": (_PTR, _PTR),
    "persisting_columns_close": (_U64,),
    "persisting_cursor_schema": (_U64, _PTR),
    "persisting_cursor_next": (_U64, _PTR),
    "persisting_cursor_offsets": (_U64, _PTR),
    "persisting_cursor_close": (_U64,),
}

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


@functools.cache
def _library() -> ctypes.CDLL:
    """Load the library and hold its ABI version against this module's."""
    try:
        library = ctypes.CDLL(str(_LIBRARY))
    except OSError as reason:
        raise ImportError(f"the engine {_LIBRARY} cannot be loaded: {reason}") from reason
    for name, arguments in _PROTOTYPES.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError(
                f"{_LIBRARY} has no function {name}: it is not the engine of this package"
            )
        function.argtypes = (*arguments, ctypes.POINTER(_Error))
        function.restype = ctypes.c_int32
    version = ctypes.c_uint32()
    _call(library.persisting_abi_version, byref(version))
    if version.value != ABI_VERSION:
        raise ImportError(
            f"{_LIBRARY} has ABI version {version.value}, this package needs {ABI_VERSION}: "
            "install both from one release"
        )
    return library


def _call(function: Any, *arguments: Any) -> None:
    """Call `function` and raise what it reports."""
    error = _Error()
    if function(*arguments, error):
        raise _exception(error)


def _exception(error: _Error) -> PersistingError:
    message = (error.message or b"").decode(errors="replace")
    code = error.code
    if error.release:
        _release_error(error.release)(error)
    return error_for(code, message)


def _string(call: Callable[..., None], function: Any, *arguments: Any) -> str:
    """Have `call` call a function whose out-parameter, the last, is a string."""
    text = ctypes.c_char_p()
    call(function, *arguments, byref(text))
    try:
        return (text.value or b"").decode()
    finally:
        _call(_library().persisting_string_free, text)


def _json(options: Mapping[str, Any]) -> bytes:
    """Write options as JSON; the library refuses by name what JSON cannot hold."""
    named = {
        name: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in options.items()
    }
    return json.dumps(named, default=repr).encode()


class Handle:
    """An open handle of the library.

    Closing is idempotent and waits for calls in other threads. A handle that is
    never closed is closed when it is collected or when the interpreter ends, with a
    ResourceWarning in the first case.
    """

    def __init__(self, number: int, close: Any, name: str) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _abandon, number, close, name, os.getpid())
        self._close = close
        self._name = name
        _watch_the_end()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Close the handle; a second call does nothing."""
        with self._lock:
            if self._finalizer.detach() is None:
                return
        _call(self._close, self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _use(self, function: Any, *arguments: Any) -> None:
        """Call a function of the handle; ClosedError if it was closed before or meanwhile."""
        try:
            _call(function, self._number, *arguments)
        except InvalidHandleError:
            raise ClosedError(f"{self._name} is closed") from None


_ending = threading.Event()


@functools.cache
def _watch_the_end() -> None:
    """Have `_ending` set before handles are closed at the end of the interpreter.

    What is registered last runs first, and weakref registers with its first finalizer.
    """
    atexit.register(_ending.set)


def _abandon(number: int, close: Any, name: str, process: int) -> None:
    """Close a handle that its owner forgot; a forked child has nothing to close."""
    if os.getpid() != process:
        return
    _call(close, number)
    if name and not _ending.is_set():
        warnings.warn(f"{name} was not closed", ResourceWarning, stacklevel=2)
