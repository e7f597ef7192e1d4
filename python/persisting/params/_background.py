"""Saves in the background: what is saved is copied first, so that it may change at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from persisting._errors import ClosedError
from persisting.params._memory import empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from persisting._engine.params import Tensors


class Background:
    """A thread that saves, one version after the other, and the memory that it saves from.

    Memory is kept for the next save: touching new pages takes four times as long as the copy.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None  # until there is something to do
        self._closed = False
        self._free: dict[int, list[Any]] = {}

    def run(self, tensors: Tensors, save: Callable[[], Any]) -> Future[Any]:
        """Have tensors lie in copies, and call `save` later.

        Raises
        ------
        ClosedError
            It was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the parameter store is closed")
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "persisting-params")
            copies: list[Any] = []

            def memory(nbytes: int) -> int:
                free = self._free.get(nbytes)
                copies.append(free.pop() if free else empty(nbytes))
                address: int = copies[-1].__array_interface__["data"][0]
                return address

            tensors.copy(memory)
            future: Future[Any] = self._thread.submit(save)
        future.add_done_callback(lambda _: self._give_back(copies))
        return future

    def _give_back(self, copies: list[Any]) -> None:
        with self._lock:
            if not self._closed:
                self._free.clear()  # what another model has left
                for memory in copies:
                    self._free.setdefault(memory.nbytes, []).append(memory)

    def close(self) -> None:
        """Wait for the saves that were asked for."""
        with self._lock:
            thread, self._thread, self._closed = self._thread, None, True
            self._free.clear()
        if thread is not None:
            thread.shutdown()
