"""Futures that the engine's acknowledgements resolve, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from bisect import bisect_right
from collections import deque
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from persisting._engine.boundary import OVER
from persisting._errors import PersistingError, WaitTimeoutError
from persisting._loop.futures import running_loop, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persisting._engine.bucket import Bucket

# Seconds between two looks, while there is no descriptor for a waker.
_LOOK = 0.01


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
    lose
        Called when rows were lost that waited to be acknowledged.

    Notes
    -----
    Who waits is woken on its own event loop, which may be another than that on which puts go
    on. `tests/test_wakes.py` looks at every order in which this and the engine can meet.
    """

    def __init__(
        self, bucket: Bucket, advance: Callable[[int], None], lose: Callable[[], None]
    ) -> None:
        self._bucket = bucket
        self._advance = advance
        self._lose = lose
        self._waiting: deque[tuple[int, Sequence[asyncio.Future[None]]]] = deque()
        self._waker: _Waker | None = None
        self._told = 0  # rows, by the waker
        self._acknowledged = 0  # rows, as far as is known here
        self._asked = False
        self._over = False  # the log failed or was closed
        self._looking: asyncio.AbstractEventLoop | None = None  # which has no waker
        self._ended: tuple[Exception | None] | None = None  # how, once the bucket is closed

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self) -> bool:
        """Tell whether the append that comes now, if `wait` follows, has to ask for the waker."""
        self._asked = self._waker is not None and not self._waiting
        return self._asked

    def wait(self, rows: int) -> asyncio.Future[None]:
        """Return a future that is done once `rows` rows are acknowledged; see `tell`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tell(rows, (future,))
        return future

    def tell(self, rows: int, puts: Sequence[asyncio.Future[None]]) -> None:
        """Resolve the futures of puts once `rows` rows are acknowledged.

        They fail with the cause when the log fails, or the bucket is closed, first. Calls must
        come in ascending order of `rows`, each after an `ask` before its append.
        """
        if rows <= self._acknowledged:  # the append was on a thread, and the waker was faster
            settle(puts, None)
            return
        if self._ended is not None:
            settle(puts, self._ended[0])
            return
        self._waiting.append((rows, puts))
        loop = asyncio.get_running_loop()
        try:
            if self._watch(loop) and len(self._waiting) == 1 and (self._over or not self._asked):
                self._notify()
        except BaseException:  # Ctrl-C, say, and the loop may go on
            loop.call_soon(_begin_anew, weakref.ref(self))
            raise

    async def settle(self) -> None:
        """Wait until nobody waits any more."""
        if self._waiting:
            last = asyncio.get_running_loop().create_future()
            self.tell(self._waiting[-1][0], (last,))
            await asyncio.wait({last})
            if not last.cancelled():
                last.exception()  # it was told to those who put

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have another event loop watch for those who wait."""
        if self._waiting:
            self._watch(loop)

    def end(self, cause: Exception | None) -> None:
        """Tell all who wait how the bucket was closed; None if all its rows are on disk."""
        self._ended = (cause,)
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.stop(self._bucket)
        self._finish(cause)

    def hear(self, loop: asyncio.AbstractEventLoop, more: int, *, over: bool) -> None:
        """Resolve every future whose outcome is known, and ask to be called for the next.

        The `loop` that watches calls it, with how many more rows are acknowledged, and whether
        no more will be. One that watches no more has the other begin anew.
        """
        waker = self._waker
        if waker is None or self._bucket.closed:
            return
        if waker.loop not in (None, loop):
            _on_loop(waker.loop, _begin_anew, weakref.ref(self))
            return
        self._told += more
        self._over = over
        self._know(self._told)
        if not self._waiting:
            return
        if over:
            self._look_up()
        else:
            self._notify()

    def begin_anew(self) -> None:
        """Ask again for all that the waker has told: what it told last may not have been heard."""
        if self._waker is None or self._bucket.closed:
            return
        try:
            self._bucket.set_waker(self._waker.writing)
        except PersistingError as cause:
            self._finish(cause)
            return
        self._waker.silence()  # of what was written before
        self._told = 0
        self._asked = False
        if self._waiting:
            self._notify()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Have `loop` woken by the waker; False where it looks by itself now and then instead."""
        try:
            if self._waker is None:
                self._waker = _Waker()
                weakref.finalize(self, self._waker.stop, self._bucket)
            self._waker.watch(loop, self)
        except (OSError, NotImplementedError):  # the rows are stored nevertheless
            if self._looking is not loop:
                self._looking = loop
                loop.call_later(_LOOK, _look, weakref.ref(self), loop)
            return False
        return True

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what the waker does, without one, and try to get one."""
        if self._looking is not loop:
            return
        self._looking = None
        if self._waiting:
            self._look_up()
        if self._waiting and self._watch(loop):
            self._notify()

    def _look_up(self) -> None:
        """Resolve those whose outcome the engine tells now."""
        try:
            self._know(self._bucket.acknowledged())
            if self._waiting:
                with contextlib.suppress(WaitTimeoutError):
                    self._bucket.wait(self._waiting[0][0], 0)
                    self._know(self._waiting[0][0])
            if self._waiting and self._waker is not None:
                self._bucket.notify(self._waiting[0][0])
        except PersistingError as cause:
            self._finish(cause)

    def _notify(self) -> None:
        try:
            self._bucket.notify(self._waiting[0][0])
        except PersistingError as cause:
            self._finish(cause)

    def _know(self, acknowledged: int) -> None:
        """Resolve those whose rows are acknowledged."""
        self._acknowledged = max(self._acknowledged, acknowledged)
        self._advance(self._acknowledged)
        known = bisect_right(self._waiting, self._acknowledged, key=itemgetter(0))
        settle(chain.from_iterable(puts for _, puts in islice(self._waiting, known)), None)
        for _ in range(known):
            self._waiting.popleft()

    def _finish(self, cause: Exception | None) -> None:
        """Resolve all who wait in the same way."""
        lost = bool(self._waiting) and cause is not None
        while self._waiting:
            settle(self._waiting[0][1], cause)
            self._waiting.popleft()
        if lost:
            self._lose()


class _Waker:
    """A file descriptor that the engine writes to, and the event loop that watches it.

    The loop refers weakly to whom it wakes, so that it keeps no bucket open that its
    owner has forgotten.
    """

    def __init__(self) -> None:
        self._reading, self.writing = _event_pipe()
        self.loop: asyncio.AbstractEventLoop | None = None  # that watches it

    def watch(self, loop: asyncio.AbstractEventLoop, owner: Acknowledgements) -> None:
        """Have `loop`, and no other, call `owner.hear`.

        What the loop before has read it may not have told: it can have ended in the midst of it.
        """
        if loop is self.loop:
            return
        before, self.loop = self.loop, None
        _on_loop(before, _unwatch, before, self._reading)
        loop.add_reader(self._reading, _wake, self._reading, loop, weakref.ref(owner))
        owner.begin_anew()
        self.loop = loop

    def silence(self) -> None:
        """Forget what was written."""
        with contextlib.suppress(BlockingIOError):
            while True:
                os.read(self._reading, 8)

    def stop(self, bucket: Bucket) -> None:
        """Let go of the descriptor, once the engine cannot write to it any more."""
        with contextlib.suppress(PersistingError):  # it is closed, or this is a forked child
            bucket.set_waker(-1)
        loop, self.loop = self.loop, None
        fds, self._reading, self.writing = {self._reading, self.writing} - {-1}, -1, -1
        _on_loop(loop, _close, loop, fds)


def _wake(fd: int, loop: asyncio.AbstractEventLoop, owner: weakref.ref[Acknowledgements]) -> None:
    try:
        try:
            number = int.from_bytes(os.read(fd, 8), sys.byteorder)
        except BlockingIOError:
            return
        acknowledgements = owner()
        if acknowledgements is not None:
            acknowledgements.hear(loop, number % OVER, over=number >= OVER)
    except BaseException:  # Ctrl-C, say, and the loop may go on
        loop.call_soon(_begin_anew, owner)
        raise


def _begin_anew(owner: weakref.ref[Acknowledgements]) -> None:
    acknowledgements = owner()
    if acknowledgements is not None:
        acknowledgements.begin_anew()


def _look(owner: weakref.ref[Acknowledgements], loop: asyncio.AbstractEventLoop) -> None:
    acknowledgements = owner()
    if acknowledgements is not None:
        acknowledgements.look(loop)


def _on_loop(
    loop: asyncio.AbstractEventLoop | None, do: Callable[..., None], *arguments: object
) -> None:
    """Call what changes a loop on the thread on which it runs, if it runs on another."""
    if loop is not None and loop.is_running() and loop is not running_loop():
        with contextlib.suppress(RuntimeError):  # it was closed just now
            loop.call_soon_threadsafe(do, *arguments)
            return
    do(*arguments)


def _unwatch(loop: asyncio.AbstractEventLoop | None, fd: int) -> None:
    if loop is not None and not loop.is_closed():
        loop.remove_reader(fd)


def _close(loop: asyncio.AbstractEventLoop | None, fds: set[int]) -> None:
    for fd in fds:
        _unwatch(loop, fd)
        os.close(fd)


def _event_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a non-blocking wake-up."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing
