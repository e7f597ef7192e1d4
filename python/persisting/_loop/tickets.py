"""Batches on their way, and the event loops that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from persisting._errors import ClosedError
from persisting._loop.futures import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from persisting._engine.kv import Memory, Store

_Future = asyncio.Future["Iterable[int]"]


class Tickets:
    """Futures of batches that were submitted, by ticket.

    One eventfd tells of completions. Each event loop that waits for any listens to it, and whoever
    hears it first takes all, also those of other loops.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waker = -1
        self._loops: set[asyncio.AbstractEventLoop] = set()
        self._futures: dict[int, tuple[asyncio.AbstractEventLoop, _Future, Memory]] = {}

    async def run(self, submit: Callable[[], int], memory: Memory) -> Iterable[int]:
        """Submit a batch and wait for its results.

        The memory is kept until the batch has ended, also when the wait is cancelled.
        """
        loop = asyncio.get_running_loop()
        future: _Future = loop.create_future()
        with self._lock:  # nobody may take the completion before the future is known
            self._listen(loop)
            self._futures[submit()] = (loop, future, memory)
        return await future

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waker < 0:
            self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._store.set_waker(self._waker)
        if loop not in self._loops:
            loop.add_reader(self._waker, self._take)
            self._loops = {other for other in self._loops if not other.is_closed()} | {loop}

    def _take(self) -> None:
        """Give all results there are to those who wait for them."""
        with self._lock:
            if self._waker < 0:
                return
            with contextlib.suppress(BlockingIOError):  # another loop was faster
                os.eventfd_read(self._waker)
            for ticket in self._store.drain():
                loop, future, memory = self._futures.pop(ticket)
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                    loop.call_soon_threadsafe(_give, future, memory.results)

    def close(self) -> None:
        """End the waits after the store was closed: nothing is read or written any more."""
        with self._lock:
            for loop, future, _ in self._futures.values():
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_refuse, future, self._store.path)
            self._futures.clear()
            waker, self._waker = self._waker, -1
            loops, self._loops = self._loops, set()
        if waker < 0:
            return
        for loop in loops:
            _end_listening(loop, waker)
        os.close(waker)


def _end_listening(loop: asyncio.AbstractEventLoop, waker: int) -> None:
    """Have a loop forget the waker, before its number is used for something else."""
    if loop.is_closed():
        return
    done = threading.Event()

    def forget() -> None:
        loop.remove_reader(waker)
        done.set()

    if running_loop() is loop or not loop.is_running():
        forget()
        return
    with contextlib.suppress(RuntimeError):  # it was closed just now
        loop.call_soon_threadsafe(forget)
        done.wait(5)


def _give(future: _Future, results: Iterable[int]) -> None:
    if not future.done():
        future.set_result(results)


def _refuse(future: _Future, path: str) -> None:
    if not future.done():
        future.set_exception(ClosedError(f"the store {path} was closed"))
