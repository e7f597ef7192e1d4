"""The calls that change a bucket's columns and rows, and those of its versions.

Like `_native`, of whose `Bucket` this is the larger part, one call of
`capi/persisting.h` each. All of them may wait for a disk.
"""

from __future__ import annotations

import ctypes
import json
from ctypes import byref
from typing import Any

import pyarrow as pa

from persisting._abi import _capsule_pointer, _library, _string
from persisting._arguments import MOST, integer, text
from persisting._boundary import RUN, ArrowSchema
from persisting._errors import RemovedError
from persisting._native import Cursor
from persisting._queried import Asked, Queried


class Table(Queried):
    """An open bucket whose columns and rows can be changed; see `persisting.h`."""

    def add_columns(self, schema: pa.Schema) -> None:
        """Add nullable columns that are null in the rows there are."""
        self._with_schema(_library().persisting_bucket_add_columns, schema)

    def fill_column(self, row: pa.RecordBatch) -> None:
        """Add the column of `row` with its one value in the rows there are."""
        schema, array = row.__arrow_c_array__()
        self._use(
            _library().persisting_bucket_fill_column,
            _capsule_pointer(array, b"arrow_array"),
            _capsule_pointer(schema, b"arrow_schema"),
        )

    def compute_column(self, field: pa.Field, expression: str) -> None:
        """Add a column with the value of an SQL expression, of whose type null stands for."""
        sql = text("expression", expression)
        self._with_schema(_library().persisting_bucket_compute_column, pa.schema([field]), sql)

    def drop_column(self, name: str) -> None:
        """Take a column out."""
        self._use(_library().persisting_bucket_drop_column, text("name", name))

    def rename_column(self, name: str, to: str) -> None:
        """Give a column another name."""
        names = text("name", name), text("to", to)
        self._use(_library().persisting_bucket_rename_column, *names)

    def cast_column(self, field: pa.Field) -> None:
        """Give the column of that name the type of `field`."""
        self._with_schema(_library().persisting_bucket_cast_column, pa.schema([field]))

    def declare(self, schema: pa.Schema) -> None:
        """Refuse other columns and types from now on."""
        self._with_schema(_library().persisting_bucket_declare, schema)

    def delete(self, filter: str) -> int:
        """Remove the rows for which an SQL filter is true; return how many."""
        return self._number_of(_library().persisting_bucket_delete, text("filter", filter))

    def truncate_before(self, offset: int) -> int:
        """Remove the rows below an offset; return how many."""
        number = integer("offset", offset, -MOST, MOST)
        return self._number_of(_library().persisting_bucket_truncate_before, number)

    def commit(self, consumer: str, offset: int) -> None:
        """Note the offset of a consumer."""
        number = integer("offset", offset, -MOST, MOST)
        self._use(_library().persisting_bucket_commit, text("consumer", consumer), number)

    def consumers(self) -> dict[str, int]:
        """Return the offsets of all consumers."""
        offsets: dict[str, int] = json.loads(
            _string(self._use, _library().persisting_bucket_consumers)
        )
        return offsets

    def versions(self) -> list[dict[str, Any]]:
        """Return the versions that are there, the oldest first."""
        versions: list[dict[str, Any]] = json.loads(
            _string(self._use, _library().persisting_bucket_versions)
        )
        return versions

    def tag(self, name: str, version: int) -> None:
        """Give a version a name."""
        number = integer("version", version, 0, MOST)
        self._use(_library().persisting_bucket_tag, text("name", name), number)

    def untag(self, name: str) -> None:
        """Take a name away."""
        self._use(_library().persisting_bucket_untag, text("name", name))

    def restore(self, version: int) -> None:
        """Bring back the columns and rows of a version."""
        number = integer("version", version, 0, MOST)
        self._use(_library().persisting_bucket_restore, number)

    def at(self, version: int) -> View:
        """Open a version for reading."""
        version = integer("version", version, 0, MOST)
        number = ctypes.c_uint64()
        self._use(_library().persisting_view_open, version, byref(number))
        return View(number.value, self.path, version)

    def _with_schema(self, function: Any, schema: pa.Schema, *more: Any) -> None:
        capsule = schema.__arrow_c_schema__()
        self._use(function, _capsule_pointer(capsule, b"arrow_schema"), *more)

    def _number_of(self, function: Any, argument: Any) -> int:
        rows = ctypes.c_int64()
        self._use(function, argument, byref(rows))
        return rows.value


class View(Asked):
    """One version of a bucket; it stays as long as this is open."""

    _noun = "view"

    def __init__(self, number: int, path: str, version: int) -> None:
        name = f"version {version} of the bucket {path}"
        super().__init__(number, _library().persisting_view_close, name)
        self.path = path
        self._schema: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        """Return the columns."""
        if self._schema is None:
            out = ArrowSchema()
            self._use(_library().persisting_view_schema, byref(out))
            self._schema = pa.Schema._import_from_c(ctypes.addressof(out))
        return self._schema

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns, which every cursor has."""
        return self.schema()

    def rows(self) -> tuple[int, int]:
        """Return how many rows are left, and the offset after the last one."""
        rows, end = ctypes.c_int64(), ctypes.c_int64()
        self._use(_library().persisting_view_rows, byref(rows), byref(end))
        return rows.value, end.value

    def read(self, offset: int, count: int, *, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; see `Bucket.read` for `run`."""
        number = ctypes.c_uint64()
        flags = RUN if run else 0
        try:
            self._use(_library().persisting_view_read, offset, count, flags, byref(number))
        except RemovedError as removed:
            with self.read(offset, 2**62) as rest:
                removed.first = next((first for first, _ in rest.offsets()), self.rows()[1])
            raise
        return Cursor(number.value, self, 0)
