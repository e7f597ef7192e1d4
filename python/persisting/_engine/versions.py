"""A version of a bucket."""

from __future__ import annotations

import ctypes
from ctypes import byref

import pyarrow as pa

from persisting._engine.boundary import RUN, ArrowSchema
from persisting._engine.cursor import Cursor
from persisting._engine.library import library
from persisting._engine.queries import Queryable


class View(Queryable):
    """One version of a bucket; it stays as long as this is open."""

    _noun = "view"

    def __init__(self, number: int, path: str, version: int) -> None:
        name = f"version {version} of the bucket {path}"
        super().__init__(number, library().persisting_view_close, name)
        self.path = path
        self._schema: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        """Return the columns."""
        if self._schema is None:
            out = ArrowSchema()
            self._use(library().persisting_view_schema, byref(out))
            self._schema = pa.Schema._import_from_c(ctypes.addressof(out))
        return self._schema

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns, which every cursor has."""
        return self.schema()

    def rows(self) -> tuple[int, int]:
        """Return how many rows are left, and the offset after the last one."""
        rows, end = ctypes.c_int64(), ctypes.c_int64()
        self._use(library().persisting_view_rows, byref(rows), byref(end))
        return rows.value, end.value

    def read(self, offset: int, count: int, *, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; see `Bucket.read` for `run`."""
        number = ctypes.c_uint64()
        flags = RUN if run else 0
        self._use(library().persisting_view_read, offset, count, flags, byref(number))
        return Cursor(number.value, self, 0)
