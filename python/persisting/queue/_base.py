"""What the parts of a backend share."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from persisting import _tracing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    import pyarrow as pa

    from persisting._native import Cursor
    from persisting._records import RecordDecoder
    from persisting._table import Table
    from persisting.queue._writer import Writer

    T = TypeVar("T")


class Base:
    """An open bucket, and what puts go through."""

    storage_path: str
    _bucket: Table
    _writer: Writer
    _decoder: RecordDecoder
    _total: int

    def _check_open(self) -> None:
        """Raise ClosedError if the backend was closed."""
        raise NotImplementedError


def drain(cursor: Cursor) -> list[pa.RecordBatch]:
    """Read a cursor to its end."""
    with cursor:
        return list(cursor)


def on_thread(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Begin to call a function that may wait for a disk."""
    call = _tracing.caller(functools.partial(function, *arguments))
    return asyncio.get_running_loop().run_in_executor(None, call)
