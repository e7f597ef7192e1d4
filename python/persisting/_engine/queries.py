"""The queries of a bucket, and of a version of one. All of them wait for the disk."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from persisting._engine.cursor import Cursor
from persisting._engine.handles import Handle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    Asked = Mapping[str, Any] | Sequence[Any]


class Queryable(Handle, ABC):
    """A bucket, or a version of one, that answers queries by functions of its own."""

    path: str
    count: ClassVar[Callable[[Any, str | None], int]]
    _query: ClassVar[Callable[[Any, Asked, Any, int], int]]
    _explain: ClassVar[Callable[[Any, Asked, Any, int], str]]

    def query(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> Cursor:
        """Run a query; waits for the disk."""
        return Cursor(self._query(query, *_doubles(vector)), self, None)

    def explain(self, query: Mapping[str, Any], vector: Sequence[float] | None) -> str:
        """Return the plan of a query; waits for the disk."""
        return self._explain(query, *_doubles(vector))

    @abstractmethod
    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """See `Source`."""


def _doubles(numbers: Sequence[float] | None) -> tuple[Any, int]:
    """Return an array of doubles, or NULL, and its length."""
    if numbers is None:
        return None, 0
    return (ctypes.c_double * len(numbers))(*numbers), len(numbers)
