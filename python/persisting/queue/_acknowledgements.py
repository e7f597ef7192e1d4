"""Futures that the engine's acknowledgements resolve, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING

from persisting._boundary import OVER
from persisting._errors import ClosedError, PersistingError, WaitTimeoutError

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
        self._bell: _Bell | None = None
        self._acknowledged = 0  # as the bell says
        self._asked = False
        self._over = False  # the bucket was poisoned or closed

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self) -> bool:
        """Tell whether the append that comes now, if `wait` follows, has to ask for the bell."""
        self._asked = self._bell is not None and not self._waiting
        return self._asked

    def wait(self, rows: int) -> asyncio.Future[None]:
        """Return a future that is done once `rows` rows are acknowledged.

        It fails with the cause when the bucket is poisoned or closed first. Calls must
        come in ascending order of `rows`, each after an `ask` before its append.
        """
        loop = asyncio.get_running_loop()
        if self._bell is None:
            self._bell = _Bell()
            weakref.finalize(self, self._bell.stop, self._bucket)
            self._bucket.set_bell(self._bell.writing)
        self._bell.watch(loop, self)
        future: asyncio.Future[None] = loop.create_future()
        if rows <= self._acknowledged:  # the append was on a thread, and the bell was faster
            future.set_result(None)
            return future
        self._waiting.append((rows, future))
        if len(self._waiting) == 1 and (self._over or not self._asked):
            self._bucket.notify(rows)
        return future

    async def settle(self) -> None:
        """Wait until nobody waits any more."""
        while self._waiting:
            await asyncio.wait({self._waiting[-1][1]})

    def end(self, cause: Exception | None) -> None:
        """Tell all who wait how the bucket was closed; None if all its rows are on disk."""
        if self._bell is not None:
            self._bell.stop(self._bucket)
        while self._waiting:
            _resolve(self._waiting.popleft()[1], cause)

    def ring(self, rows: int, *, over: bool) -> None:
        """Resolve every future whose outcome is known, and ask to be called for the next.

        The loop of the futures calls it, with how many more rows are acknowledged, and whether
        the bucket was poisoned or closed.
        """
        if self._bell is None or self._bucket.closed:
            return
        self._acknowledged += rows
        self._over = over
        self._advance(self._acknowledged)
        while self._waiting and self._waiting[0][0] <= self._acknowledged:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_result(None)
        if not self._waiting:
            return
        try:
            if over:
                with contextlib.suppress(WaitTimeoutError):
                    self._bucket.wait(self._waiting[0][0], 0)
            self._bucket.notify(self._waiting[0][0])
        except PersistingError as cause:
            while self._waiting:
                _resolve(self._waiting.popleft()[1], cause)


class _Bell:
    """A file descriptor that the engine writes to, and the event loop that watches it.

    The loop refers weakly to whom it wakes, so that it keeps no bucket open that its
    owner has forgotten.
    """

    def __init__(self) -> None:
        self._reading, self.writing = _event_pipe()
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, owner: Acknowledgements) -> None:
        """Have `loop`, and no other, call `owner.ring`."""
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._reading)
        loop.add_reader(self._reading, _wake, self._reading, weakref.ref(owner))
        self._loop = loop

    def stop(self, bucket: Bucket) -> None:
        """Let go of the descriptor, once the engine cannot write to it any more."""
        with contextlib.suppress(ClosedError):
            bucket.set_bell(-1)
        loop, self._loop = self._loop, None
        fds, self._reading, self.writing = {self._reading, self.writing} - {-1}, -1, -1
        if loop is None or loop.is_closed():
            _close(fds)
        elif _is_running(loop):
            _close(fds, loop)
        else:
            loop.call_soon_threadsafe(_close, fds, loop)


def _wake(fd: int, owner: weakref.ref[Acknowledgements]) -> None:
    try:
        number = int.from_bytes(os.read(fd, 8), sys.byteorder)
    except BlockingIOError:
        return
    acknowledgements = owner()
    if acknowledgements is not None:
        acknowledgements.ring(number % OVER, over=number >= OVER)


def _close(fds: set[int], loop: asyncio.AbstractEventLoop | None = None) -> None:
    for fd in fds:
        if loop is not None:
            loop.remove_reader(fd)
        os.close(fd)


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether `loop` runs on this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


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
    if _is_running(loop):
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
