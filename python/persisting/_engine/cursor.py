"""The rows of one read."""

from __future__ import annotations

import ctypes
import functools
import json
from ctypes import byref
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from persisting._engine.boundary import ArrowArray, ArrowSchema
from persisting._engine.handles import Handle
from persisting._engine.library import call, library, string

if TYPE_CHECKING:
    from collections.abc import Iterator


def cursor_schema(cursor: int) -> pa.Schema:
    """Return the columns of an open cursor."""
    out = ArrowSchema()
    call(library().persisting_cursor_schema, cursor, byref(out))
    return pa.Schema._import_from_c(ctypes.addressof(out))


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
        super().__init__(number, library().persisting_cursor_close, f"a cursor of {source.path}")
        self._source = source
        self._schema_version = schema_version
        self._next = library().persisting_cursor_next

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns of every batch."""
        if self._schema_version is None:
            return cursor_schema(self._number)
        return self._source.schema_at(self._schema_version, self._number)

    def offsets(self) -> list[tuple[int, int]]:
        """Return the offsets of the rows as runs: the first of each, and the one after its last."""
        text = string(self._use, library().persisting_cursor_offsets)
        return [(first, end) for first, end in json.loads(text)]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        array = ArrowArray()
        while True:
            self._use(self._next, byref(array))
            if not array.release:
                return
            yield pa.RecordBatch._import_from_c(ctypes.addressof(array), self.schema)
