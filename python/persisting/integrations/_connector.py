"""The store as a native connector of LMCache, which needs nothing of LMCache."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from persisting._engine.kv import Memory
from persisting._errors import ClosedError
from persisting.integrations._tier import LEASE_MS, Tier
from persisting.kv._batches import REFUSED, Batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Number of the batch, whether all of it was done, why not, and each key.
Completion: TypeAlias = tuple[int, bool, str, list[bool] | None]


def namespace_in(namespace: str, revision: str) -> str:
    """Return the namespace of LMCache's blocks; the model and the ranks are in its keys."""
    return "/".join(filter(None, ["lmcache", namespace, revision]))


class Connector:
    """A store for LMCache's adapter ``native_plugin``.

    Parameters
    ----------
    path
        Directory of the store, or the address of a process that serves one.
    capacity
        Bytes that it may take, or text such as ``"500 GiB"``; of an address that of the server.
    namespace, revision
        LMCache's keys have the model and the ranks, but neither the dtype nor the layout nor the
        revision of the weights, so say here what they are.
    options
        Further ones of `KVStore`.

    Notes
    -----
    No call waits for the disk, and none raises. Memory is read and written in place until the
    completion was drained.
    """

    def __init__(
        self,
        path: str,
        capacity: int | str | None = None,
        namespace: str = "",
        revision: str = "",
        **options: Any,
    ) -> None:
        options["capacity"] = capacity
        self._tier = Tier(path, namespace_in(namespace, revision), options)
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._batches = Batches(self._tier.store, self._waker) if self._tier.store else None
        self._lock = threading.Lock()
        self._last = 0
        self._loads: dict[int, int] = {}  # numbers of batches, by ticket
        self._stores: dict[int, int] = {}
        self._done: list[Completion] = []
        self._deletes = ThreadPoolExecutor(1, "persisting-delete")

    def event_fd(self) -> int:
        """Return the eventfd that is written to when there are completions."""
        return self._waker

    def submit_batch_get(self, keys: list[str], bufs: list[Any]) -> int:
        """Begin to read blocks into memory."""

        def begin(number: int, batches: Batches) -> None:
            memory = _memory(bufs, writable=True)
            self._loads[batches.load(keys, memory)] = number

        return self._submit(begin, "load", len(keys))

    def submit_batch_set(self, keys: list[str], bufs: list[Any]) -> int:
        """Begin to store blocks."""

        def begin(number: int, batches: Batches) -> None:
            memory = _memory(bufs, writable=False)
            self._stores[batches.store(keys, memory)] = number

        return self._submit(begin, "store", len(keys))

    def submit_batch_exists(self, keys: list[str]) -> int:
        """Say which blocks there are; they are not forgotten for a while."""

        def begin(number: int, batches: Batches) -> None:
            self._end(number, batches.present(keys, LEASE_MS))

        return self._submit(begin, "look up", len(keys))

    def submit_batch_delete(self, keys: list[str]) -> int:
        """Begin to remove blocks, which a thread waits for."""

        def begin(number: int, batches: Batches) -> None:
            self._deletes.submit(self._delete, number, batches, list(keys))

        return self._submit(begin, "delete", len(keys))

    def _submit(self, begin: Callable[[int, Batches], None], what: str, count: int) -> int:
        with self._lock:  # nobody may take a completion before its number is known
            self._last += 1
            try:
                if self._batches is None:
                    raise ClosedError("there is no store")
                begin(self._last, self._batches)
            except Exception as reason:
                self._fail(self._last, what, reason, count)
            return self._last

    def _delete(self, number: int, batches: Batches, keys: list[str]) -> None:
        try:
            batches.delete(keys)
        except Exception as reason:
            with self._lock:
                self._fail(number, "delete", reason, len(keys))
            return
        with self._lock:
            self._end(number, [True] * len(keys))  # what was not there is gone as well

    def _end(self, number: int, each: list[bool]) -> None:
        self._done.append((number, True, "", each))
        os.eventfd_write(self._waker, 1)

    def _fail(self, number: int, what: str, reason: Exception, count: int) -> None:
        text = f"{type(reason).__name__}: {reason}"
        self._tier.faults.add(what, text)
        self._done.append((number, False, text, [False] * count))
        os.eventfd_write(self._waker, 1)

    def drain_completions(self) -> list[Completion]:
        """Return what has ended since the last call."""
        with self._lock:
            if self._waker < 0:
                return []
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._waker)
            done, self._done = self._done, []
            if self._batches:
                for ticket, results in self._batches.ended():
                    done.append(self._completion(ticket, results))
            return done

    def _completion(self, ticket: int, results: Iterable[int]) -> Completion:
        if ticket in self._loads:
            number, what = self._loads.pop(ticket), "load"
            each = [result > 0 for result in results]
        else:
            number, what = self._stores.pop(ticket), "store"
            # What the admission refuses is not wanted, which is no fault.
            each = [result > 0 or result == REFUSED for result in results]
        if all(each):
            return number, True, "", each
        text = f"{each.count(False)} of {len(each)} blocks"
        self._tier.faults.add(what, text)
        return number, False, f"{what}: {text}", each

    def stats(self) -> dict[str, Any]:
        """Return what the store holds and did, and the faults of this connector."""
        return self._tier.stats()

    def close(self) -> None:
        """Close the store; what is on its way ends before, and no more is told of it."""
        self._deletes.shutdown()
        with self._lock:
            batches, self._batches = self._batches, None
            waker, self._waker = self._waker, -1
        self._tier.close()
        del batches  # until now it kept the memory that was read or written
        if waker >= 0:
            os.close(waker)


def _memory(buffers: Iterable[Any], *, writable: bool) -> Memory:
    memory = Memory()
    memory.add_views(list(buffers), writable=writable)
    return memory
