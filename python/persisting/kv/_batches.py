"""Batches that are under way, for programs without an event loop."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from persisting._engine.kv import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from persisting._engine.kv import Memory
    from persisting.kv._store import KVStore

# Results of keys, as the engine has them; those above 0 are success.
REFUSED = -5

# Keys of one call, all of one kind.
Several: TypeAlias = "list[bytes] | list[str]"


class Batches:
    """Loads and sets that were submitted, by ticket. Methods may be called from any thread.

    All completions of the store come here, so nothing else may wait for any: a store has either
    this or coroutines.

    Parameters
    ----------
    store
        The store, in whose namespace and salt the keys are.
    waker
        An eventfd that is written to when batches have ended, -1 for none.
    namespace
        What the keys belong to, if not the store's namespace.
    """

    def __init__(self, store: KVStore, waker: int = -1, namespace: str | None = None) -> None:
        self._store = store._store
        self._namespace = store.namespace if namespace is None else namespace
        self._space = store._space if namespace is None else self._store.space(namespace, "")
        self._lock = threading.Lock()
        self._kept: dict[int, Memory] = {}
        self._store.set_waker(waker)

    def space(self, salt: str) -> int:
        """Return the number of the namespace with a salt, for `store`."""
        return self._store.space(self._namespace, salt)

    def length(self, key: bytes, lease_ms: int) -> int:
        """Return the length of a block, -1 where there is none; does not wait."""
        return self._store.find(self._space, key, lease_ms)

    def lengths(self, keys: Several, lease_ms: int) -> Iterable[int]:
        """Return the length of each block, -1 where there is none; does not wait."""
        return self._store.exists(self._space, _together(keys), lease_ms) if keys else ()

    def present(self, keys: Several, lease_ms: int) -> list[bool]:
        """Return whether there is each block; does not wait."""
        return self._store.present(self._space, _together(keys), lease_ms) if keys else []

    def load(self, keys: Several, memory: Memory) -> int:
        """Begin to read blocks and return a ticket; does not wait."""
        with self._lock:  # nobody may take the completion before the memory is known
            ticket = self._store.submit_load(self._space, _together(keys), memory)
            self._kept[ticket] = memory
        return ticket

    def store(self, keys: Several, memory: Memory, space: int | None = None) -> int:
        """Begin to store blocks and return a ticket; does not wait."""
        with self._lock:
            where = self._space if space is None else space
            ticket = self._store.submit_store(where, _together(keys), memory, 0)
            self._kept[ticket] = memory
        return ticket

    def prefix(self, keys: Several, lease_ms: int) -> int:
        """Return how many keys from the first on there are; does not wait."""
        return self._store.prefix(self._space, _together(keys), lease_ms) if keys else 0

    def load_now(self, keys: Several, memory: Memory) -> Iterable[int]:
        """Read blocks and return the results; waits for the disk."""
        return self._store.load(self._space, _together(keys), memory) if keys else ()

    def store_now(self, keys: Several, memory: Memory) -> Iterable[int]:
        """Store blocks and return the results; waits for the disk."""
        return self._store.store(self._space, _together(keys), memory, 0) if keys else ()

    def delete(self, keys: Several) -> list[bool]:
        """Remove blocks and return which there were; waits for the disk."""
        return [r > 0 for r in self._store.delete(self._space, _together(keys))] if keys else []

    def page(self, cursor: Any, count: int) -> tuple[list[tuple[bytes, int]], Any]:
        """Return keys with the lengths of their blocks, and the cursor of the next page.

        The first page has the cursor None, as what follows the last has. Waits for the disk.
        """
        found = self._store.keys(self._namespace, cursor, count)
        entries = [(base64.b64decode(entry["key"]), entry["length"]) for entry in found["keys"]]
        return entries, found["next"]

    def touch(self, keys: Several) -> None:
        """Count a read of each block; does not wait."""
        if keys:
            self._store.touch(self._space, _together(keys), 0)

    def ended(self) -> list[tuple[int, Iterable[int]]]:
        """Return tickets that have ended, with the results of their keys."""
        ended: list[tuple[int, Iterable[int]]] = []
        with self._lock:
            while tickets := self._store.drain():
                ended += [(ticket, self._kept.pop(ticket).results) for ticket in tickets]
        return ended


def _together(keys: Several) -> Keys:
    if keys and isinstance(keys[0], str):
        return Keys.of_texts(keys)
    return Keys(cast("list[bytes]", keys))
