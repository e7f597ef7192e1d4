"""The engine's log as messages of Python's logging, and its work as spans.

A thread takes messages from the engine, which never waits for it: when it is held up by a
slow handler, 1024 messages wait, and further ones are dropped and counted.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import traceback
import weakref
from typing import Any

from persisting._engine import logs
from persisting._errors import PersistingError
from persisting._observe import tracing

COMPONENTS = ("engine", "wal", "server")

_POLL = 1.0  # seconds until a changed level of a logger counts
_ending = threading.Event()
_known: dict[str, Any] = {}  # what the engine was told last


def start() -> None:
    """Take messages from now on, of the levels that the loggers have now."""
    _look()
    _start_thread()


def not_opened(path: object, error: PersistingError) -> None:
    """Log why a bucket could not be opened: Pulsing keeps that from whoever waits for it."""
    logging.getLogger("persisting.engine").error("the bucket %s is not opened: %s", path, error)


def left_out(missing: int, asked: int) -> None:
    """Log that records of a batch are not there any more."""
    logger = logging.getLogger("persisting.engine")
    logger.warning("%d of the %d records of a batch were removed, and are left out", missing, asked)


@functools.cache
def _start_thread() -> None:
    thread = threading.Thread(target=_take, name="persisting-logs", daemon=True)
    thread.start()
    # Of finalizers the oldest runs last: after those of buckets, which log as well.
    weakref.finalize(start, _deliver_rest, thread)


def _look() -> None:
    """Tell the engine the levels of the loggers, and whether work is traced."""
    levels = {component: _level(component) for component in COMPONENTS}
    traced = tracing.look()
    wanted = {"levels": levels, "tracing": traced}
    if wanted != _known:
        logs.set_levels(levels, tracing=traced)
        _known.update(wanted)


def _level(component: str) -> int:
    logger = logging.getLogger(f"persisting.{component}")
    return max(logger.getEffectiveLevel(), logger.manager.disable + 1)


def _take() -> None:
    while not _ending.is_set():
        try:
            _look()
            logged = logs.next_messages(_POLL)
        except PersistingError:
            return  # the library has failed, which every call says
        _deliver(logged)


def _deliver_rest(thread: threading.Thread) -> None:
    _ending.set()
    try:
        logs.set_levels(_known["levels"], tracing=_known["tracing"])  # wakes the thread
        thread.join()
        _deliver(logs.next_messages(0))
    except PersistingError:
        return  # the library has failed, or this is a fork


def _deliver(logged: dict[str, Any]) -> None:
    for message in logged["messages"] or ():
        try:
            if message["span"]:
                tracing.work(message)
            if message["log"]:
                _log(message)
        except Exception:  # of a filter of the program, say: others wait to be delivered
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()
    if logged["dropped"]:
        logging.getLogger("persisting").warning(
            "%d messages were dropped, because they were not taken in time", logged["dropped"]
        )


def _log(message: dict[str, Any]) -> None:
    logger = logging.getLogger(f"persisting.{message['component']}")
    level, attrs = message["level"], message.get("attrs") or {}
    if not logger.isEnabledFor(level):
        return
    text = " ".join([message["text"], *(f"{name}={value}" for name, value in attrs.items())])
    record = logger.makeRecord(logger.name, level, "persisting", 0, text, (), None)
    record.created = message["time"] / 1e9
    record.msecs = message["time"] // 1_000_000 % 1000
    record.attributes = attrs
    logger.handle(record)
