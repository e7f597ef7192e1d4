"""The store as the second level of LMCache's cache, below its memory.

`Adapter` is for LMCache's adapter ``plugin``, and is the better one: LMCache sees what it holds,
also after a restart. `Connector` is for ``native_plugin``::

    {"type": "plugin", "module_path": "persisting.integrations.lmcache", "class_name": "Adapter",
     "adapter_params": {"path": "/nvme/kv", "capacity": "500 GiB"}}

Both give a block the same key, so one finds what the other has stored.

References
----------
`L2AdapterInterface` of ``lmcache/v1/distributed/l2_adapters/base.py``, LMCache 0.5.6.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from binascii import hexlify
from collections import Counter
from functools import lru_cache
from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmcache.lmcache_native import Bitmap
from lmcache.v1.distributed.api import KeyEntry, KeyListPage, ObjectKey
from lmcache.v1.distributed.internal_api import L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import AdapterUsage, L2AdapterInterface

from persisting._engine.kv import Memory
from persisting.integrations._connector import Connector, namespace_in
from persisting.integrations._tier import LEASE_MS, Tier, harmless
from persisting.kv._batches import REFUSED, Batches
from persisting.kv._sizes import in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Adapter", "Connector"]

# Milliseconds after which the leases of locked keys are given anew.
RENEW_MS = LEASE_MS // 3

# Keys that are told to a listener at a time.
TOLD = 1000


class _Task:
    """A task that has blocks on their way, in a batch for each salt."""

    __slots__ = ("batches", "id", "is_load", "keys", "results", "sizes")

    def __init__(self, number: int, is_load: bool, keys: list[ObjectKey], sizes: list[int]) -> None:
        self.id = number
        self.is_load = is_load
        self.keys = keys
        self.sizes = sizes
        self.results = [0] * len(keys)
        self.batches = 0  # that have not ended


class Adapter(L2AdapterInterface):
    """A store for LMCache's adapter ``plugin``.

    Parameters
    ----------
    adapter_params
        `path`, of a directory or the address of a process that serves a store, and `capacity`,
        which an address needs not: it has that of the store there; further options of `KVStore`;
        `namespace` and `revision` as of `Connector`.
    l1_memory_desc
        LMCache's memory, which needs no registration.

    Notes
    -----
    No call waits for the disk but `delete`, `list_l2_keys` and `close`, which LMCache waits for;
    none raises but for arguments that are wrong. What is locked is not forgotten and not deleted.
    What the store forgets of its own accord it does not announce: a lookup misses it.
    """

    def __init__(self, adapter_params: Mapping[str, Any], l1_memory_desc: Any = None) -> None:
        options = dict(adapter_params)
        path = options.pop("path")
        capacity = options.get("capacity")
        super().__init__(max_capacity_bytes=in_bytes(capacity, "capacity") if capacity else 0)
        namespace = namespace_in(options.pop("namespace", ""), options.pop("revision", ""))
        self._tier = Tier(path, namespace, options)
        self._waker, *self._fds = (_eventfd() for _ in range(4))
        self._store_fd, self._lookup_fd, self._load_fd = self._fds
        self._batches = Batches(self._tier.store, self._waker) if self._tier.store else None
        self._lock = threading.Lock()
        self._last = 0
        self._tasks: dict[int, tuple[_Task, list[int]]] = {}  # with numbers of keys, by ticket
        self._stored: dict[int, L2StoreResult] = {}
        self._found: dict[int, Bitmap] = {}
        self._loaded: dict[int, Bitmap] = {}
        self._locked: Counter[bytes] = Counter()  # by keys as they are in the store
        self._spaces: dict[str, int] = {}
        self._renewal = 0.0
        self._closing = False
        self._telling: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._listen, name="persisting-lmcache", daemon=True)
        self._thread.start()

    def get_store_event_fd(self) -> int:
        """Return the eventfd of stores that have ended."""
        return self._store_fd

    def get_lookup_and_lock_event_fd(self) -> int:
        """Return the eventfd of lookups that have ended."""
        return self._lookup_fd

    def get_load_event_fd(self) -> int:
        """Return the eventfd of loads that have ended."""
        return self._load_fd

    # ---- storing and loading ----

    def submit_store_task(self, keys: list[ObjectKey], objects: list[Any]) -> int:
        """Begin to store objects."""
        return self._submit(False, keys, objects)

    def submit_load_task(self, keys: list[ObjectKey], objects: list[Any]) -> int:
        """Begin to read objects."""
        return self._submit(True, keys, objects)

    def _submit(self, is_load: bool, keys: list[ObjectKey], objects: list[Any]) -> int:
        with self._lock:  # the thread may not see a completion before its task is known
            self._last += 1
            task = _Task(self._last, is_load, list(keys), [o.get_size() for o in objects])
            try:
                self._begin(task, objects)
            except Exception as reason:
                self._tier.faults.add("load" if is_load else "store", repr(reason))
            if not task.batches:
                self._end(task)
            return task.id

    def _begin(self, task: _Task, objects: Sequence[Any]) -> None:
        if self._batches is None:
            return
        for salt, numbers in self._groups(task).items():
            memory = Memory()
            memory.add_rows(
                [objects[i].data_ptr for i in numbers], [task.sizes[i] for i in numbers]
            )
            memory.kept = list(objects)
            keys = [encode(task.keys[i]) for i in numbers]
            if task.is_load:
                ticket = self._batches.load(keys, memory)
            else:
                ticket = self._batches.store(keys, memory, self._space(salt))
            task.batches += 1
            self._tasks[ticket] = task, numbers

    def _groups(self, task: _Task) -> dict[str, list[int]]:
        """Return the numbers of keys by whom they are stored for; loads are all alike."""
        groups: dict[str, list[int]] = {}
        for i, key in enumerate(task.keys):
            groups.setdefault("" if task.is_load else key.cache_salt, []).append(i)
        return groups

    def _space(self, salt: str) -> int:
        assert self._batches is not None
        if salt not in self._spaces:
            self._spaces[salt] = self._batches.space(salt)
        return self._spaces[salt]

    def _listen(self) -> None:
        """Give results to those who ask for them, and keep what is locked."""
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        while not self._closing:
            poll.poll(RENEW_MS)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._waker)
            try:
                self._take()
            except Exception as reason:
                self._tier.faults.add("take results", repr(reason))

    def _take(self) -> None:
        with self._lock:
            ended = []
            for ticket, results in self._batches.ended() if self._batches else ():
                task, numbers = self._tasks.pop(ticket)
                for i, result in zip(numbers, results, strict=True):
                    task.results[i] = result
                task.batches -= 1
                if not task.batches:
                    self._end(task)
                    ended.append(task)
            self._renew()
        for task in ended:
            self._tell(task)

    def _renew(self) -> None:
        """Give what is locked a new lease, once in a while."""
        now = time.monotonic()
        if self._locked and self._batches and now >= self._renewal:
            self._renewal = now + RENEW_MS / 1000
            self._batches.lengths(list(self._locked), LEASE_MS)

    def _end(self, task: _Task) -> None:
        """Note the results of a task."""
        if task.is_load:
            done = [result > 0 for result in task.results]
            self._loaded[task.id] = bitmap(done)
        else:
            # What the admission refuses is not wanted, which is no fault.
            done = [result > 0 or result == REFUSED for result in task.results]
            written = sum(n for n, r in zip(task.sizes, task.results, strict=True) if r > 0)
            self._stored[task.id] = L2StoreResult(all(done), written)
        if not all(done):
            what = "load" if task.is_load else "store"
            self._tier.faults.add(what, f"{done.count(False)} of {len(done)} objects")
        os.eventfd_write(self._load_fd if task.is_load else self._store_fd, 1)

    def _tell(self, task: _Task) -> None:
        """Tell LMCache which keys were stored or read."""
        keys = [key for key, r in zip(task.keys, task.results, strict=True) if r > 0]
        if keys and task.is_load:
            self._notify_keys_accessed(keys)
        elif keys:
            sizes = [n for n, r in zip(task.sizes, task.results, strict=True) if r > 0]
            self._notify_keys_stored(keys, sizes)

    def pop_completed_store_tasks(self) -> dict[int, L2StoreResult]:
        """Return the stores that have ended since the last call."""
        with self._lock:
            stored, self._stored = self._stored, {}
            return stored

    def query_load_result(self, task_id: int) -> Bitmap | None:
        """Return which objects a load has read, once; None before it has ended."""
        with self._lock:
            return self._loaded.pop(task_id, None)

    # ---- looking ----

    def submit_lookup_and_lock_task(
        self, keys: list[ObjectKey], group_layout_descs: Mapping[int, Any]
    ) -> int:
        """Look objects up, and keep those there are until they are unlocked."""
        encoded = [encode(key) for key in keys]
        with self._lock:
            self._last += 1
            there = self._look(encoded)
            self._locked.update(compress(encoded, there))
            self._found[self._last] = bitmap(there)
            os.eventfd_write(self._lookup_fd, 1)
            return self._last

    @harmless(lambda keys: [False] * len(keys))
    def _look(self, keys: list[bytes]) -> list[bool]:
        if self._batches is None:
            return [False] * len(keys)
        return [length >= 0 for length in self._batches.lengths(keys, LEASE_MS)]

    def query_lookup_and_lock_result(self, task_id: int) -> Bitmap | None:
        """Return which objects there are, once; None before the lookup has ended."""
        with self._lock:
            return self._found.pop(task_id, None)

    def submit_unlock(self, keys: list[ObjectKey]) -> None:
        """End what a lookup began."""
        with self._lock:
            for key in map(encode, keys):
                if self._locked[key] > 1:
                    self._locked[key] -= 1
                else:
                    del self._locked[key]

    # ---- the whole ----

    @harmless(lambda keys: None)
    def delete(self, keys: list[ObjectKey]) -> None:
        """Remove objects, but for those that are locked."""
        with self._lock:
            free = [key for key in keys if encode(key) not in self._locked]
            batches = self._batches
        if batches is None or not free:
            return
        encoded = [encode(key) for key in free]
        lengths = list(batches.lengths(encoded, 0))
        gone = batches.delete(encoded)
        removed = [(k, n) for k, n, yes in zip(free, lengths, gone, strict=True) if yes]
        if removed:
            self._notify_keys_deleted([k for k, _ in removed], [max(n, 0) for _, n in removed])

    def list_l2_keys(
        self, model_name: str | None = None, page_size: int = 500, cursor: str | None = None
    ) -> KeyListPage:
        """Return a page of the keys there are, those of one model if it is given."""
        if page_size < 1:
            raise ValueError(f"page_size is {page_size}, want at least 1")
        at = None if cursor is None else _cursor(cursor)
        entries: list[KeyEntry] = []
        while self._batches and len(entries) < page_size:
            found, at = self._batches.page(at, page_size - len(entries))
            for key, size in _decoded(found):
                if model_name in (None, key.model_name):
                    entries.append(KeyEntry(key.to_encoded_object_key(), size))
            if at is None:
                break
        return KeyListPage(tuple(entries), None if at is None else json.dumps(at))

    def register_listener(self, listener: Any) -> None:
        """Tell a listener of what is stored, and first of what an earlier process has stored."""
        super().register_listener(listener)
        thread = threading.Thread(target=self._recall, args=(listener,), daemon=True)
        self._telling.append(thread)
        thread.start()

    def _recall(self, listener: Any) -> None:
        try:
            for keys, sizes in self._pages():
                listener.on_l2_keys_stored(keys, sizes)
        except Exception as reason:
            self._tier.faults.add("tell of earlier keys", repr(reason))

    def _pages(self) -> Iterator[tuple[list[ObjectKey], list[int]]]:
        at = None
        while (batches := self._batches) is not None:
            found, at = batches.page(at, TOLD)
            if decoded := list(_decoded(found)):
                yield [key for key, _ in decoded], [size for _, size in decoded]
            if at is None:
                return

    @harmless(lambda: AdapterUsage(0, 0))
    def get_usage(self) -> AdapterUsage:
        """Return the bytes that are taken, also by what an earlier process has stored."""
        stats = self._tier.stats()
        salts = {salt: u["bytes"] for salt, u in stats.get("salts", {}).items() if u["bytes"]}
        capacity = stats.get("capacity_bytes", self._max_capacity_bytes)
        return AdapterUsage(stats.get("bytes", 0), capacity, MappingProxyType(salts))

    def report_status(self) -> dict[str, Any]:
        """Return whether the store works, and its statistics."""
        healthy = self._batches is not None and self._thread.is_alive()
        return {"is_healthy": healthy, "type": "persisting", **self._tier.stats()}

    def close(self) -> None:
        """End what is on its way, and close the store."""
        if self._closing:
            return
        self._closing = True
        os.eventfd_write(self._waker, 1)
        self._thread.join()
        with self._lock:
            batches, self._batches = self._batches, None
        for thread in self._telling:
            thread.join()
        self._tier.close()
        del batches  # until now it kept the memory that was read or written
        for fd in (self._waker, *self._fds):
            os.close(fd)


def encode(key: ObjectKey) -> bytes:
    """Return the bytes of a key, which are those that LMCache gives a native connector."""
    made = _head(key.model_name, key.kv_rank, key.object_group_id) + hexlify(key.chunk_hash)
    return made + b"@" + key.cache_salt.encode() if key.cache_salt else made


@lru_cache(maxsize=1024)
def _head(model: str, rank: int, group: int) -> bytes:
    """Return what many keys begin with: 128 keys take 41 us in place of 88 by remembering it."""
    return f"{model}@{rank:08x}@{group:x}@".encode()


def decode(key: bytes) -> ObjectKey:
    """Return the key that `encode` gave these bytes; ValueError for others."""
    model, rank, group, chunk, *salt = key.decode().split("@")
    return ObjectKey(bytes.fromhex(chunk), model, int(rank, 16), int(group, 16), "".join(salt))


def _decoded(entries: Iterable[tuple[bytes, int]]) -> Iterator[tuple[ObjectKey, int]]:
    for key, size in entries:
        with contextlib.suppress(ValueError):  # not LMCache's
            yield decode(key), size


def _cursor(token: str) -> Any:
    """Return the cursor of a token of `list_l2_keys`."""
    cursor = json.loads(token)  # its fault is a ValueError, as LMCache wants
    if not isinstance(cursor, dict) or not all(isinstance(n, int) for n in cursor.values()):
        raise ValueError(f"{token!r} is no token of a page")
    return cursor


def bitmap(bits: Sequence[bool]) -> Bitmap:
    """Return LMCache's form of bits."""
    head = bits.index(False) if False in bits else len(bits)
    made = Bitmap(len(bits), head)  # most have no more than that
    for i in range(head, len(bits)):
        if bits[i]:
            made.set(i)
    return made


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
