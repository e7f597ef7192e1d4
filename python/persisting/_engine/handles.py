"""Handles of the library: numbers there, objects here, which are closed."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import queue
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from persisting._errors import ClosedError, InvalidHandleError, PersistingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")

_logger = logging.getLogger(__name__)


class Handle:
    """An open handle of the library.

    Closing is idempotent and waits for calls in other threads. A handle that is
    never closed is closed when it is collected or when the interpreter ends, with a
    ResourceWarning in the first case.

    Parameters
    ----------
    number
        Of the library.
    close
        The function that closes it.
    name
        What it is; empty where nobody has to close it.
    close_takes_long
        Whether a close waits for the disk. That of a handle that is collected, which can be in
        the midst of anything, is left to a thread then.
    """

    def __init__(
        self,
        number: int,
        close: Callable[[int], None],
        name: str,
        *,
        close_takes_long: bool = False,
    ) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(
            self, _abandon, number, close, name, os.getpid(), close_takes_long
        )
        self._close = close
        self._name = name
        if close_takes_long:
            _closer()
        _watch_the_end()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Close the handle; a second call does nothing."""
        with self._lock:
            if self._finalizer.detach() is None:
                return
        self._close(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _use(
        self, function: Callable[Concatenate[int, P], R], *arguments: P.args, **flags: P.kwargs
    ) -> R:
        """Call a function of the handle; ClosedError if it was closed before or meanwhile."""
        try:
            return function(self._number, *arguments, **flags)
        except InvalidHandleError as error:
            raise self._failure(error) from None

    def _failure(self, error: PersistingError) -> PersistingError:
        """Return what is raised for an error of a call of the handle."""
        if isinstance(error, InvalidHandleError):
            return ClosedError(f"{self._name} is closed")
        return error


def method(function: Callable[Concatenate[int, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return the method of a handle that is a function of it, and has its contract as text."""

    @functools.wraps(function)
    def use(handle: Handle, /, *arguments: P.args, **flags: P.kwargs) -> R:
        try:
            return function(handle._number, *arguments, **flags)
        except InvalidHandleError as error:
            raise handle._failure(error) from None

    return use


_ending = threading.Event()

# Seconds between two looks at whether the thread that is waited for is alive.
_LOOK = 1.0


@functools.cache
def _watch_the_end() -> None:
    """Have `_ending` set before handles are closed at the end of the interpreter.

    What is registered last runs first, and weakref registers with its first finalizer.
    """
    atexit.register(_end)


def _end() -> None:
    _ending.set()
    finish_closing()


def _abandon(number: int, close: Any, name: str, process: int, takes_long: bool) -> None:
    """Close a handle that its owner forgot; a forked child has nothing to close."""
    if os.getpid() != process:
        return
    if takes_long and not _ending.is_set():
        _closer().close(number, close, name)
    else:
        _close_logged(number, close, name)
    if name and not _ending.is_set():
        warnings.warn(f"{name} was not closed", ResourceWarning, stacklevel=2)


def _close_logged(number: int, close: Any, name: str) -> None:
    """Close a handle where nobody can be told that it failed."""
    try:
        close(number)
    except Exception as error:  # whatever it is: others wait to be closed
        _logger.error("%s, which was forgotten, was not closed well: %s", name, error)


class _Closer:
    """A thread that closes what was forgotten."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._left: queue.SimpleQueue[tuple[int, Any, str] | threading.Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="persisting-close", daemon=True)
        self._thread.start()

    def close(self, number: int, close: Any, name: str) -> None:
        """Have a handle closed. The collector may call it at any time: it takes no lock."""
        self._left.put((number, close, name))

    def finish(self) -> None:
        """Wait until all is closed that was forgotten; a forked child has no such thread."""
        if os.getpid() == self._process:
            finished = threading.Event()
            self._left.put(finished)
            while self._thread.is_alive() and not finished.wait(_LOOK):
                pass

    def _run(self) -> None:
        while True:
            left = self._left.get()
            if isinstance(left, threading.Event):
                left.set()
            else:
                _close_logged(*left)


@functools.cache
def _closer() -> _Closer:
    """Return the thread, which is begun before anything can be forgotten."""
    return _Closer()


def finish_closing() -> None:
    """Wait until all handles are closed that were forgotten."""
    _closer().finish()
