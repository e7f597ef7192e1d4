"""Calls that may wait for a disk, on threads other than that of an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
from typing import TYPE_CHECKING, Any

from persisting._observe import tracing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    import pyarrow as pa

    from persisting._engine.cursor import Cursor
    from persisting._engine.handles import Handle

    T = TypeVar("T")
    H = TypeVar("H", bound=Handle)


def drain(cursor: Cursor) -> list[pa.RecordBatch]:
    """Read a cursor to its end."""
    with cursor:
        return list(cursor)


class _Threads:
    """Threads for calls that wait for a disk.

    They are not those of the event loop: where a program has all of these wait for a put, the put
    would wait for one of them.
    """

    _MOST = 32

    def __init__(self) -> None:
        self.begin_anew()
        os.register_at_fork(after_in_child=self.begin_anew)

    def begin_anew(self) -> None:
        """Forget the threads, which a forked child does not have; they begin when needed."""
        self.pool = concurrent.futures.ThreadPoolExecutor(self._MOST, "persisting")


_threads = _Threads()


def on_thread(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Begin to call a function that may wait for a disk."""
    call = tracing.caller(functools.partial(function, *arguments))
    return asyncio.get_running_loop().run_in_executor(_threads.pool, call)


def call_on_thread(function: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Call a function that may wait for a disk, to its end, whatever becomes of an event loop."""
    try:
        calling = _threads.pool.submit(function)
    except RuntimeError as ending:  # the interpreter ends
        calling = concurrent.futures.Future()
        calling.set_exception(ending)
    return calling


async def opened_on_thread(function: Callable[..., H], *arguments: Any) -> H:
    """Call a function that opens something; it is closed again where nobody waits any more."""
    opening = on_thread(function, *arguments)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_opened)
        raise


def _close_opened(opening: asyncio.Future[H]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
