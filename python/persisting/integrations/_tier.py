"""What the plugs have in common: a store that is opened or not, and faults that reach no engine."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from persisting._errors import InvalidArgumentError, LockedError, StorageError
from persisting.kv import KVStore
from persisting.kv._addresses import is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Method = TypeVar("Method", bound="Callable[..., Any]")

# How long what a lookup found is not forgotten: until the engine loads it.
LEASE_MS = 30_000

# Seconds between two lines of a log about the same fault.
QUIET = 60.0

logger = logging.getLogger("persisting.integrations")


class Tier:
    """The store behind a plug.

    Where the disk does not let it be opened, or another process has it, the engine runs without:
    nothing is found and nothing is stored. Options that are wrong do raise, when the engine starts.

    Parameters
    ----------
    path
        Directory of the store, or the address of a process that serves one.
    namespace
        See `namespace_of`.
    options
        Those of `KVStore`, of which `capacity` is needed. With an address those of
        `KVStore.connect`; the capacity is that of the server then, and one that is given is not
        looked at.
    socket
        Where the store of a directory is served to other processes; the default is nowhere.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        namespace: str,
        options: Mapping[str, Any],
        socket: Path | None = None,
    ) -> None:
        self.namespace = namespace
        self.faults = Faults()
        self.store: KVStore | None = None
        try:
            self.store = _open(path, namespace, options)
        except (LockedError, StorageError, OSError) as reason:
            self.faults.add("open", reason)
        if self.store and socket:
            try:
                self.store.serve(socket)
            except StorageError as reason:
                self.faults.add("serve", reason)

    def stats(self) -> dict[str, Any]:
        """Return the statistics of the store, and the faults of the plug by what was tried."""
        stats = self.store.stats() if self.store and not self.store.closed else {}
        return stats | {"faults": self.faults.counts()}

    def close(self) -> None:
        """Close the store; what goes wrong is counted."""
        if self.store:
            try:
                self.store.close()
            except Exception as reason:
                self.faults.add("close", reason)


def _open(path: str | os.PathLike[str], namespace: str, options: Mapping[str, Any]) -> KVStore:
    """Open a store, or connect to one, which may be served later only."""
    if is_address(path):
        more = {name: value for name, value in options.items() if name != "capacity"}
        return KVStore.connect(os.fspath(path), namespace=namespace, required=False, **more)
    if options.get("capacity") is None:
        raise InvalidArgumentError(
            f"capacity is missing, which {os.fspath(path)!r} needs as a directory: want the bytes "
            'that it may take, such as "500 GiB"'
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return KVStore(path, namespace=namespace, **options)


class Faults:
    """What went wrong and was kept from the engine, counted and logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, float] = {}

    def add(self, what: str, reason: object) -> None:
        """Count a fault, and log it unless one of its kind was logged a short time ago."""
        now = time.monotonic()
        with self._lock:
            self._counts[what] += 1
            count = self._counts[what]
            if now - self._logged.get(what, -QUIET) < QUIET:
                return
            self._logged[what] = now
        logger.error("%s failed, %d times so far: %s", what, count, reason)

    def counts(self) -> dict[str, int]:
        """Return the number of faults by what was tried."""
        with self._lock:
            return dict(self._counts)


def harmless(answer: Callable[..., Any]) -> Callable[[Method], Method]:
    """Have a method of a plug return `answer(*arguments)` in place of raising.

    The plug has its `Tier` as `_tier`.
    """

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            except Exception as reason:
                self._tier.faults.add(method.__name__, f"{type(reason).__name__}: {reason}")
                return answer(*args, **kwargs)

        return cast("Method", guarded)

    return decorate


def namespace_of(engine: str, model: str, fields: Mapping[str, object], revision: str = "") -> str:
    """Return the namespace of blocks, which changes with all that changes what a block means.

    Its beginning can be read; the rest is in its last part, a hash.
    """
    text = json.dumps(
        {"engine": engine, "model": model, "revision": revision, **fields},
        sort_keys=True,
        default=str,
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return "/".join(filter(None, [engine, model[:200], revision[:100], digest]))
