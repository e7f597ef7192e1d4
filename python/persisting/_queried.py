"""The calls of queries and indexes of `capi/persisting.h`. All of them wait for the disk."""

from __future__ import annotations

import ctypes
import functools
import json
from ctypes import byref
from typing import TYPE_CHECKING, Any, ClassVar

from persisting import _arguments
from persisting._abi import Handle, _json, _library, _string
from persisting._native import Bucket, Cursor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


class Asked(Handle):
    """A bucket, or a version of one, that answers queries."""

    path: str
    _noun: ClassVar[str]

    def query(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> Cursor:
        """Run a query; waits for the disk."""
        number = ctypes.c_uint64()
        self._use(self._call("query"), _json(query), *_doubles(vector), byref(number))
        return Cursor(number.value, self, None)

    def count(self, where: str | None) -> int:
        """Return the number of rows that pass a filter; waits for the disk."""
        rows = ctypes.c_int64()
        self._use(self._call("count"), _arguments.text("filter", where or ""), byref(rows))
        return rows.value

    def explain(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> str:
        """Return the plan of a query; waits for the disk."""
        explain = functools.partial(self._use, self._call("explain"))
        arguments = (_json(query), *_doubles(vector))
        return _string(lambda _, out: explain(*arguments, out), None)

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """See `Source`."""
        raise NotImplementedError

    def _call(self, verb: str) -> Any:
        return getattr(_library(), f"persisting_{self._noun}_{verb}")


class Queried(Bucket, Asked):
    """An open bucket that answers queries of the acknowledged rows, and has indexes."""

    _noun = "bucket"

    def create_index(self, index: Mapping[str, Any]) -> None:
        """Build an index; waits until it is on disk."""
        self._use(_library().persisting_bucket_create_index, _json(index))

    def drop_index(self, name: str) -> None:
        """Remove an index; waits for the disk."""
        self._use(_library().persisting_bucket_drop_index, _arguments.text("name", name))

    def indexes(self) -> list[dict[str, Any]]:
        """Describe the indexes; waits for the disk."""
        text = _string(self._use, _library().persisting_bucket_indexes)
        indexes: list[dict[str, Any]] = json.loads(text)
        return indexes

    def index_stats(self, name: str) -> dict[str, Any]:
        """Return what Lance says of an index; waits for the disk."""
        stats = functools.partial(self._use, _library().persisting_bucket_index_stats)
        wanted = _arguments.text("name", name)
        text = _string(lambda _, out: stats(wanted, out), None)
        found: dict[str, Any] = json.loads(text)
        return found


def _doubles(numbers: Sequence[float] | None) -> tuple[Any, int]:
    """Return an array of doubles, or NULL, and its length."""
    if numbers is None:
        return None, 0
    return (ctypes.c_double * len(numbers))(*numbers), len(numbers)
