"""The C interface of the engine, through ctypes.

The library is loaded, by `_abi`, when the first bucket is opened. Each method is one
call of `capi/persisting.h`, whose text is the contract; a status other than OK is
raised as the exception of its code.

Calls let go of the GIL, so a call that waits for a disk belongs on a thread other
than that of an event loop; which ones those are is said at each method.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
from ctypes import byref
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from persisting import _arguments
from persisting._abi import (
    Handle,
    _call,
    _capsule_pointer,
    _exception,
    _json,
    _library,
    _release_array,
    _scratch,
    _string,
    finish_closing,
)
from persisting._boundary import (
    APPLY,
    CHECK,
    CHECKED,
    NO_WAIT,
    NOTIFY,
    QUICK,
    RUN,
    ArrowArray,
    ArrowSchema,
    Usage,
)
from persisting._errors import LockedError, NotFoundError, RemovedError, WouldBlockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def version() -> str:
    """Return the version of the library."""
    return _string(_call, _library().persisting_version)


def usage() -> tuple[int, int]:
    """Return the number of open handles and the Arrow bytes that the library allocated."""
    out = Usage()
    _call(_library().persisting_library_usage, byref(out))
    return out.handles, out.allocated_bytes


def set_memory_budget(size: int) -> None:
    """Bound the memory of all open buckets, in bytes."""
    _call(_library().persisting_library_set_memory_budget, size)


def metrics_text() -> str:
    """Return the metrics of all open buckets in the Prometheus text format."""
    return _string(_call, _library().persisting_metrics_text)


def metrics_families() -> list[dict[str, Any]]:
    """Return the same as data; see `persisting_metrics_json`."""
    families: list[dict[str, Any]] = json.loads(_string(_call, _library().persisting_metrics_json))
    return families


def retain_metrics(yes: bool) -> None:
    """Keep the last counts of buckets when they are closed, or no longer."""
    _call(_library().persisting_metrics_retain, yes)


def set_log_levels(levels: Mapping[str, int], *, tracing: bool) -> None:
    """Set the least level of each component that is logged, and whether work is traced."""
    _call(_library().persisting_log_levels, _json({"levels": levels, "tracing": tracing}))


def next_log(seconds: float) -> dict[str, Any]:
    """Wait for log messages and return them; see `persisting_log_next`."""
    text = _string(_call, _library().persisting_log_next, int(seconds * 1e9))
    logged: dict[str, Any] = json.loads(text)
    return logged


def verify(directory: str | os.PathLike[str], *, quick: bool = False) -> dict[str, Any]:
    """Return what is wrong with the files of a bucket; see `persisting_directory_verify`."""
    return _describe(_library().persisting_directory_verify, directory, QUICK if quick else 0)


def inspect(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the files of a bucket hold; see `persisting_directory_inspect`."""
    return _describe(_library().persisting_directory_inspect, directory)


def repair(directory: str | os.PathLike[str], *, apply: bool) -> dict[str, Any]:
    """Find a repair of the files of a bucket or make it; see `persisting_directory_repair`."""
    return _describe(_library().persisting_directory_repair, directory, APPLY if apply else 0)


def clone(directory: str | os.PathLike[str], into: str | os.PathLike[str]) -> dict[str, Any]:
    """Make a bucket of links to the files of another; see `persisting_directory_clone`."""
    there = os.fsencode(_arguments.path("into", into))
    return _describe(_library().persisting_directory_clone, directory, there)


def _describe(function: Any, directory: str | os.PathLike[str], *more: Any) -> dict[str, Any]:
    path = os.fsencode(_arguments.path("directory", directory))
    found: dict[str, Any] = json.loads(_string(_call, function, path, *more))
    return found


def read_table(directory: str | os.PathLike[str]) -> tuple[Cursor, int]:
    """Read a Lance table that is no bucket's; see `persisting_directory_read`.

    Returns
    -------
    tuple of Cursor and int
        The rows, and how many they are.
    """
    number, rows = ctypes.c_uint64(), ctypes.c_int64()
    table = _Foreign(os.fspath(directory))
    _call(_library().persisting_directory_read, os.fsencode(table.path), byref(number), byref(rows))
    return Cursor(number.value, table, None), rows.value


class Server(Handle):
    """An HTTP server of metrics and of the status page.

    Parameters
    ----------
    options
        See `persisting_server_start`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        library = _library()
        number = ctypes.c_uint64()
        _call(library.persisting_server_start, _json(options), byref(number))
        super().__init__(number.value, library.persisting_server_close, "a metrics server")
        self.url = _string(self._use, library.persisting_server_address)


class Columns(Handle):
    """The columns of messages. Nothing is lost when it is not closed, and nobody warned.

    Parameters
    ----------
    schema
        The columns, of types that Lance can hold.
    """

    def __init__(self, schema: pa.Schema) -> None:
        library = _library()
        number = ctypes.c_uint64()
        capsule = schema.__arrow_c_schema__()
        pointer = _capsule_pointer(capsule, b"arrow_schema")
        _call(library.persisting_columns_import, pointer, byref(number))
        super().__init__(number.value, library.persisting_columns_close, "")


def cursor_schema(cursor: int) -> pa.Schema:
    """Return the columns of an open cursor."""
    out = ArrowSchema()
    _call(_library().persisting_cursor_schema, cursor, byref(out))
    return pa.Schema._import_from_c(ctypes.addressof(out))


class Source(Protocol):
    """What a cursor is of."""

    path: str

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of schema `version`, which the open cursor `cursor` has."""


class _Foreign:
    """A Lance table that is no bucket's."""

    def __init__(self, path: str) -> None:
        self.path = path

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns."""
        return cursor_schema(cursor)


class Cursor(Handle):
    """The record batches of one read, in the order of the rows.

    `next` may wait for a disk.
    """

    def __init__(self, number: int, bucket: Source, schema_version: int | None) -> None:
        super().__init__(number, _library().persisting_cursor_close, f"a cursor of {bucket.path}")
        self._bucket = bucket
        self._schema_version = schema_version
        self._next = _library().persisting_cursor_next

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns of every batch."""
        if self._schema_version is None:
            return cursor_schema(self._number)
        return self._bucket.schema_at(self._schema_version, self._number)

    def offsets(self) -> list[tuple[int, int]]:
        """Return the offsets of the rows as runs: the first of each, and the one after its last."""
        text = _string(self._use, _library().persisting_cursor_offsets)
        return [(first, end) for first, end in json.loads(text)]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        array = ArrowArray()
        while True:
            self._use(self._next, byref(array))
            if not array.release:
                return
            yield pa.RecordBatch._import_from_c(ctypes.addressof(array), self.schema)


class Bucket(Handle):
    """An open bucket. Its methods may be called from any thread.

    Parameters
    ----------
    path
        Directory of the bucket, created if missing. It is resolved here, once, as the system
        does it: what becomes of the working directory, or of links on the way, does not matter.
    options
        See `persisting_bucket_open`; names are those of the engine.

    Raises
    ------
    InvalidArgumentError
        An option is unknown or out of range.
    LockedError
        The bucket is open elsewhere.
    NotFoundError
        The directory has a Lance table that is no bucket's; it is left as it is.
    WALError, CorruptError, StorageError
        The bucket cannot be recovered.

    Notes
    -----
    Opening waits for the disk: it recovers what the last opener left. A bucket that
    this process has open, and forgot without closing it, is closed first.
    """

    def __init__(self, path: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
        self.path = os.path.realpath(_arguments.path("path", path))
        library = _library()
        number = ctypes.c_uint64()
        open_it = functools.partial(
            _call,
            library.persisting_bucket_open,
            os.fsencode(self.path),
            _json(options),
            byref(number),
        )
        try:
            open_it()
        except LockedError as locked:
            if f"process {os.getpid()} " not in str(locked):
                raise
            gc.collect()  # Pulsing forgets backends like that, in reference cycles
            finish_closing()
            open_it()
        super().__init__(
            number.value,
            library.persisting_bucket_close,
            f"the bucket {self.path}",
            close_takes_long=True,
        )
        self._append = library.persisting_bucket_append
        self._append_message = library.persisting_bucket_append_message
        self._acknowledged = library.persisting_bucket_acknowledged
        self._read = library.persisting_bucket_read
        self._get = library.persisting_bucket_get
        self._schemas: dict[int, pa.Schema] = {}

    def append(
        self,
        batch: pa.RecordBatch,
        *,
        no_wait: bool = False,
        notify: bool = False,
        checked: bool = False,
        wait_ns: int = 0,
    ) -> tuple[int, int]:
        """Append the rows of `batch`; no column is copied.

        Parameters
        ----------
        batch
            Must not be changed afterwards.
        no_wait
            Raise `WouldBlockError`, with nothing stored, where the call would wait.
        notify
            Do `notify` for the end of the batch, unless it is acknowledged at once.
        checked
            `check` found nothing wrong with the batch.
        wait_ns
            Nanoseconds to wait for the acknowledgement; negative is without limit.

        Returns
        -------
        tuple of int
            Offset of the first row, and number of acknowledged rows of the bucket.
        """
        flags = (NOTIFY if notify else 0) | (CHECKED if checked else 0)
        return self._append_with(batch, flags | (NO_WAIT if no_wait else 0), wait_ns)

    def check(self, batch: pa.RecordBatch, *, no_wait: bool = False) -> None:
        """Raise the SchemaError that `append` would raise, and store nothing."""
        self._append_with(batch, CHECK | (NO_WAIT if no_wait else 0), 0)

    def _append_with(self, batch: pa.RecordBatch, flags: int, wait_ns: int) -> tuple[int, int]:
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        first, acknowledged = ctypes.c_int64(), ctypes.c_int64()
        self._use(
            self._append,
            _capsule_pointer(array_capsule, b"arrow_array"),
            _capsule_pointer(schema_capsule, b"arrow_schema"),
            flags,
            wait_ns,
            byref(first),
            byref(acknowledged),
        )
        return first.value, acknowledged.value

    def append_message(
        self, columns: Columns, message: bytes, *, no_wait: bool = False, notify: bool = False
    ) -> tuple[int, int]:
        """Append the rows of an Arrow IPC record batch message; see `append`."""
        out = _scratch.out
        if self._append_message(
            self._number,
            columns._number,
            message,
            len(message),
            (NO_WAIT if no_wait else 0) | (NOTIFY if notify else 0),
            0,
            _scratch.first,
            _scratch.second,
            _scratch.error,
        ):
            raise self._failure(_exception(_scratch.take_error()))
        return out[0], out[1]

    def open_ring(self, columns: Columns) -> int:
        """Open or empty `puts.ring` for `columns`; return the next offset, -1 if it cannot be."""
        following = ctypes.c_int64()
        self._use(_library().persisting_bucket_open_ring, columns._number, byref(following))
        return following.value

    def drain_ring(self) -> None:
        """Have what is in the ring taken out soon."""
        self._use(_library().persisting_bucket_drain_ring)

    def acknowledged(self) -> int:
        """Return the number of acknowledged rows."""
        rows = ctypes.c_int64()
        self._use(self._acknowledged, byref(rows))
        return rows.value

    def wait(self, rows: int, timeout_ns: int = -1) -> None:
        """Wait until `rows` rows are acknowledged, at most `timeout_ns` nanoseconds."""
        self._use(_library().persisting_bucket_wait, rows, timeout_ns)

    def set_bell(self, fd: int) -> None:
        """Have `notify` write to `fd` how many more rows are acknowledged; -1 is for none."""
        self._use(_library().persisting_bucket_set_bell, fd)

    def notify(self, rows: int) -> None:
        """Ask for the bell to be rung once `rows` rows are acknowledged."""
        self._use(_library().persisting_bucket_notify, rows)

    def read(self, offset: int, count: int, *, no_wait: bool = False, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; may wait unless `no_wait`.

        With `run` up to the first row that was removed, and RemovedError if it is the first.
        """
        number, version = ctypes.c_uint64(), ctypes.c_uint64()
        flags = (NO_WAIT if no_wait else 0) | (RUN if run else 0)
        try:
            self._use(self._read, offset, count, flags, byref(number), byref(version))
        except RemovedError as removed:
            removed.first = self.first_from(offset)
            raise
        return Cursor(number.value, self, version.value)

    def get(self, offset: int, count: int) -> tuple[int, pa.Schema]:
        """Read few rows, up to the first that was removed, in one call and without waiting.

        At least one row must exist. WouldBlockError also where the columns change meanwhile.

        Returns
        -------
        tuple
            Address of a ``struct ArrowArray``, which the caller releases before the next call in
            this thread, and its columns.
        """
        array, at = _scratch.array, _scratch.array_at
        try:
            self._use(self._get, offset, count, at, _scratch.first)
        except RemovedError as removed:
            removed.first = self.first_from(offset)
            raise
        version = _scratch.out[0]
        schema = self._schemas.get(version) or self._schema_now(version)
        if schema is None:
            _release_array(array.release)(at)
            raise WouldBlockError("the columns have changed")
        return at, schema

    def first_from(self, offset: int) -> int:
        """Return the first offset from `offset` on whose row is left, else that of the next row."""
        offset = _arguments.integer("offset", offset, -_arguments.MOST, _arguments.MOST)
        first = ctypes.c_int64()
        self._use(_library().persisting_bucket_first_from, offset, byref(first))
        return first.value

    def take(self, offsets: Sequence[int], *, no_wait: bool = False) -> Cursor:
        """Read the rows at `offsets`, in that order; may wait unless `no_wait`."""
        number, version = ctypes.c_uint64(), ctypes.c_uint64()
        offsets = _arguments.integers("indices", offsets)
        unknown = next((offset for offset in offsets if not 0 <= offset <= _arguments.MOST), None)
        if unknown is not None:
            raise NotFoundError(f"there is no offset {unknown}")
        try:
            self._use(
                _library().persisting_bucket_take,
                (ctypes.c_int64 * len(offsets))(*offsets),
                len(offsets),
                NO_WAIT if no_wait else 0,
                byref(number),
                byref(version),
            )
        except RemovedError as removed:
            places = ((offset, self.first_from(offset)) for offset in offsets)
            removed.first = next((first for offset, first in places if first != offset), None)
            raise
        return Cursor(number.value, self, version.value)

    def schema(self) -> pa.Schema:
        """Return the columns of the bucket."""
        return self._versioned_schema()[0]

    def _versioned_schema(self) -> tuple[pa.Schema, int]:
        out, version = ArrowSchema(), ctypes.c_uint64()
        self._use(_library().persisting_bucket_schema, byref(out), byref(version))
        return pa.Schema._import_from_c(ctypes.addressof(out)), version.value

    def _schema_now(self, version: int) -> pa.Schema | None:
        """Return the columns of a schema if it is that of the bucket now."""
        schema, current = self._versioned_schema()
        self._schemas = {current: schema}
        return self._schemas.get(version)

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of schema `version`, which the open cursor `cursor` has."""
        schema = self._schemas.get(version)
        if schema is None:
            schema = cursor_schema(cursor)
            self._schemas = {version: schema}
        return schema

    def flush(self) -> None:
        """Move the acknowledged rows into Lance; waits for the disk."""
        self._use(_library().persisting_bucket_flush)

    def compact(self) -> None:
        """Merge small fragments and remove old versions; waits for the disk."""
        self._use(_library().persisting_bucket_compact)

    def stats(self) -> dict[str, Any]:
        """Return the state and the counters of the bucket."""
        text = _string(self._use, _library().persisting_bucket_stats)
        stats: dict[str, Any] = json.loads(text)
        return stats
