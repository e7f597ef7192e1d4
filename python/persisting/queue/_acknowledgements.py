"""Futures that the engine's acknowledgements resolve, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING

from persisting._errors import PersistingError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from persisting._native import Bucket


class Acknowledgements:
    """Puts that wait for the engine to acknowledge their rows.

    The engine writes to a file descriptor when the first of them is due, and the
    event loop watches that descriptor.

    Parameters
    ----------
    bucket
        The open bucket.
    advance
        Called with the number of acknowledged rows whenever it was looked up.
    """

    def __init__(self, bucket: Bucket, advance: Callable[[int], None]) -> None:
        self._bucket = bucket
        self._advance = advance
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading, self._writing = -1, -1

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, rows: int) -> asyncio.Future[None]:
        """Return a future that is done once `rows` rows are acknowledged.

        It fails with the cause when the bucket is poisoned or closed first. Calls must
        come in ascending order of `rows`.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._watch(loop)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((rows, future))
        if len(self._waiting) == 1:
            self._bucket.notify(rows, self._writing)
        return future

    def close(self) -> None:
        """Let go of the file descriptor; the bucket must be closed."""
        self._settle()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._reading)
        for fd in {self._reading, self._writing} - {-1}:
            os.close(fd)
        self._loop, self._reading, self._writing = None, -1, -1

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._reading == -1:
            self._reading, self._writing = _event_pipe()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._reading)
        loop.add_reader(self._reading, self._ready)
        self._loop = loop

    def _ready(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 512)
        self._settle()
        if self._waiting:
            self._bucket.notify(self._waiting[0][0], self._writing)

    def _settle(self) -> None:
        """Resolve every future whose outcome is known."""
        if not self._bucket.closed:
            acknowledged = self._bucket.acknowledged()
            self._advance(acknowledged)
            while self._waiting and self._waiting[0][0] <= acknowledged:
                _resolve(self._waiting.popleft()[1], None)
        if not self._waiting:
            return
        try:
            self._bucket.wait(self._waiting[0][0], 0)
        except WaitTimeoutError:
            return
        except PersistingError as cause:
            while self._waiting:
                _resolve(self._waiting.popleft()[1], cause)


def _resolve(future: asyncio.Future[None], cause: Exception | None) -> None:
    """Resolve `future` on the thread of its loop."""

    def resolve() -> None:
        if not future.done():
            if cause is None:
                future.set_result(None)
            else:
                future.set_exception(cause)

    loop = future.get_loop()
    if loop.is_closed():
        return
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        resolve()
    else:
        loop.call_soon_threadsafe(resolve)


def _event_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a non-blocking wake-up."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing
