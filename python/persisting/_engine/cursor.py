"""The rows of one read."""

from __future__ import annotations

import ctypes
import functools
from ctypes import byref
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from persisting._engine import functions
from persisting._engine.boundary import ArrowArray, Error
from persisting._engine.handles import Handle
from persisting._engine.library import c, exception

if TYPE_CHECKING:
    from collections.abc import Iterator


class Source(Protocol):
    """What a cursor is of."""

    path: str

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of schema `version`, which the open cursor `cursor` has."""


class Cursor(Handle):
    """The record batches of one read, in the order of the rows.

    `next` may wait for a disk.
    """

    def __init__(self, number: int, source: Source, schema_version: int | None) -> None:
        super().__init__(number, functions.cursor_close, f"a cursor of {source.path}")
        self._source = source
        self._schema_version = schema_version
        self._next = c.persisting_cursor_next

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns of every batch."""
        if self._schema_version is None:
            return functions.cursor_schema(self._number)
        return self._source.schema_at(self._schema_version, self._number)

    def offsets(self) -> list[tuple[int, int]]:
        """Return the offsets of the rows as runs: the first of each, and the one after its last."""
        return [(first, end) for first, end in self._use(functions.cursor_offsets)]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        array, error = ArrowArray(), Error()
        while True:
            if self._next(self._number, byref(array), error):
                raise self._failure(exception(error))
            if not array.release:
                return
            yield pa.RecordBatch._import_from_c(ctypes.addressof(array), self.schema)
