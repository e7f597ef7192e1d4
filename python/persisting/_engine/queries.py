"""The queries of a bucket, and of a version of one. All of them wait for the disk."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import TYPE_CHECKING, Any, ClassVar

from persisting import _arguments
from persisting._engine.cursor import Cursor
from persisting._engine.handles import Handle
from persisting._engine.library import as_json, library, string

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


class Queryable(Handle):
    """A bucket, or a version of one, that answers queries."""

    path: str
    _noun: ClassVar[str]

    def query(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> Cursor:
        """Run a query; waits for the disk."""
        number = ctypes.c_uint64()
        self._use(self._verb("query"), as_json(query), *_doubles(vector), byref(number))
        return Cursor(number.value, self, None)

    def count(self, where: str | None) -> int:
        """Return the number of rows that pass a filter; waits for the disk."""
        rows = ctypes.c_int64()
        self._use(self._verb("count"), _arguments.text("filter", where or ""), byref(rows))
        return rows.value

    def explain(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> str:
        """Return the plan of a query; waits for the disk."""
        arguments = as_json(query), *_doubles(vector)
        return string(self._use, self._verb("explain"), *arguments)

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """See `Source`."""
        raise NotImplementedError

    def _verb(self, verb: str) -> Any:
        return getattr(library(), f"persisting_{self._noun}_{verb}")


def _doubles(numbers: Sequence[float] | None) -> tuple[Any, int]:
    """Return an array of doubles, or NULL, and its length."""
    if numbers is None:
        return None, 0
    return (ctypes.c_double * len(numbers))(*numbers), len(numbers)
