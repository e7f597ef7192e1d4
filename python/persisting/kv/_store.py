"""The store of blocks under keys."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

from persisting._engine.kv import Keys, Memory, Server, Store, uninitialised
from persisting._errors import InvalidArgumentError
from persisting._loop.tickets import Tickets
from persisting.kv._sizes import as_key, as_keys, each_key, in_bytes, in_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Self

Key = str | bytes

LEASE = 10.0
LEASE_MS = 10_000


class KVStore:
    """A bounded store of blocks on disk, which may forget a block but never returns another.

    Parameters
    ----------
    path : str or path-like
        Directory of the store, made if it is missing. One process at a time may have it open.
    capacity : int or str
        Bytes that the directory may take, or text such as ``"500 GiB"``. A lower one than before is
        kept from the opening on.
    namespace : str, default ""
        What the keys belong to. Keys of different namespaces are different, so put into it all that
        changes what a block means: model, revision of the weights, dtype, layout, ranks.
    salt : str, default ""
        On whose account blocks go that are set; see `set_quota`.
    policy : {"s3fifo", "lru", "lfu", "fifo"}
        What is worth keeping.
    admission : {"all", "second_hit"}
        What is stored: all, or keys that were set or asked for before, which spares the disk blocks
        that nobody ever reads.
    sync : {"interval", "each", "never"}
        When blocks are brought to the disk: every second, before each set returns, or by the
        system. It matters for power failures only.
    ttl : float, default 0
        Seconds that blocks live that are set without a time of their own; 0 is without limit.
    segment_bytes : int or str, optional
        Size of the segment files, kept from the first opening on; see docs/kv.md.
    workers : int, optional
        Blocks that are read at the same time. The default is 4 for each processor, at most 32.
    max_store_backlog : int or str, default 1 GiB
        Bytes of asynchronous sets that may wait; further ones are not stored.
    load_deadline : float, default 5
        Seconds after which a load that has not begun is a miss.

    Raises
    ------
    InvalidArgumentError
        An option is out of range; the message lists all that are.
    LockedError
        Another store has the directory open; the message names its process.
    StorageError
        The disk failed.

    Notes
    -----
    Nothing that goes wrong with a disk raises after the opening, where a miss or a False can be
    told instead: a block that is damaged or cannot be read is a miss, one that cannot be written is
    not stored, and `stats` counts why.

    All methods may be called from any thread. Those that wait for a disk say so; they let go of the
    GIL. Methods that begin with `a` are coroutines and never block the event loop.

    Buffers are anything that has the buffer protocol (bytes, memoryview, numpy, ctypes, mmap) and
    torch tensors on the CPU, contiguous; they are read and written in place.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: int | str,
        namespace: str = "",
        salt: str = "",
        policy: str = "s3fifo",
        admission: str = "all",
        sync: str = "interval",
        ttl: float = 0,
        segment_bytes: int | str | None = None,
        workers: int | None = None,
        max_store_backlog: int | str | None = None,
        load_deadline: float | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "capacity": in_bytes(capacity, "capacity"),
            "policy": policy,
            "admission": admission,
            "sync": sync,
            "ttl": ttl,
        }
        optional = {
            "segment_bytes": segment_bytes and in_bytes(segment_bytes, "segment_bytes"),
            "workers": workers,
            "max_store_backlog": max_store_backlog
            and in_bytes(max_store_backlog, "max_store_backlog"),
            "load_deadline": load_deadline,
        }
        options |= {name: value for name, value in optional.items() if value is not None}
        self._begin(Store(path, options), namespace, salt)

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        namespace: str = "",
        salt: str = "",
        required: bool = True,
        workers: int | None = None,
        max_store_backlog: int | str | None = None,
        load_deadline: float | None = None,
    ) -> Self:
        """Connect to a store that another process serves, with the same methods.

        Parameters
        ----------
        address : str
            ``unix:PATH`` or ``tcp:HOST:PORT``.
        namespace, salt : str, default ""
            As of a store that is opened.
        required : bool, default True
            Whether to raise where nobody serves. Otherwise nothing is there until somebody does.
        workers : int, optional
            Blocks that are read at the same time, each over a connection of its own. The default
            is 4 for each processor, at most 16.
        max_store_backlog : int or str, default 1 GiB
            Bytes of asynchronous sets that may wait; further ones are not stored.
        load_deadline : float, default 5
            Seconds after which a load that has not begun, or an answer that has not come, is a
            miss.

        Raises
        ------
        InvalidArgumentError
            An option is out of range.
        StorageError
            Nobody serves at the address.

        Notes
        -----
        When the server ends, keys are not there and sets return False; a new connection is made in
        the background. Only `keys`, `drop_namespace`, `set_quota` and `flush` raise `StorageError`
        meanwhile. Looking waits for the server. Pins end with the connection, as leases beyond ten
        seconds do.
        """
        optional = {
            "workers": workers,
            "max_store_backlog": max_store_backlog
            and in_bytes(max_store_backlog, "max_store_backlog"),
            "load_deadline": load_deadline,
        }
        options: dict[str, Any] = {"required": required}
        options |= {name: value for name, value in optional.items() if value is not None}
        self = cls.__new__(cls)
        self._begin(Store(address, options, connect=True), namespace, salt)
        return self

    def _begin(self, store: Store, namespace: str, salt: str) -> None:
        self._store = store
        self._tickets = Tickets(store)
        self._servers: list[Server] = []
        self.path = store.path
        self.namespace = namespace
        try:
            self._space = store.space(namespace, salt)
        except BaseException:
            store.close()
            raise

    def serve(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        listen: str | None = None,
        allow_remote: bool = False,
    ) -> Server:
        """Serve the store to other processes, which `connect`, until it is closed.

        Parameters
        ----------
        socket : str or path-like, optional
            Path of a unix socket to make. Only processes of the same user may connect to it.
        listen : str, optional
            Address of TCP such as ``127.0.0.1:9642``, of the loopback interface. Every process of
            the machine may connect to it.
        allow_remote : bool, default False
            Must be True for a `listen` that other machines can reach. There is no password and no
            encryption: whoever connects may read and write everything.

        Returns
        -------
        Server
            With `addresses` for `connect`, and `close` to end it before the store.

        Raises
        ------
        InvalidArgumentError
            An address is not one to listen on.
        StorageError
            The address is taken.

        Notes
        -----
        The engine serves by itself, without the GIL.
        """
        options: dict[str, Any] = {"allow_remote": allow_remote}
        if socket is not None:
            options["socket"] = os.fspath(socket)
        if listen is not None:
            options["listen"] = listen
        server = Server(self._store, options)
        self._servers.append(server)
        return server

    # ---- looking ----

    def exists(self, key: Key, *, lease: float = LEASE) -> bool:
        """Whether there is a block, which is not forgotten for `lease` seconds; does not wait."""
        encoded = key if type(key) is bytes else as_key(key)
        lease_ms = LEASE_MS if lease == LEASE else in_ms(lease, "lease")
        return self._store.find(self._space, encoded, lease_ms) >= 0

    def exists_many(self, keys: Iterable[Key], *, lease: float = LEASE) -> list[bool]:
        """Whether there is a block for each key; does not wait."""
        wanted = as_keys(keys)
        if not wanted.count:
            return []
        return self._store.present(self._space, wanted, in_ms(lease, "lease"))

    def length(self, key: Key, *, lease: float = LEASE) -> int | None:
        """Return the length of a block in bytes, None where there is none; does not wait."""
        length = self._store.find(self._space, as_key(key), in_ms(lease, "lease"))
        return None if length < 0 else length

    def match_prefix(self, keys: Iterable[Key], *, lease: float = LEASE) -> int:
        """Return how many keys from the first on there are, without a gap; does not wait.

        Those are not forgotten for `lease` seconds.
        """
        wanted = as_keys(keys)
        if not wanted.count:
            return 0
        return self._store.prefix(self._space, wanted, in_ms(lease, "lease"))

    def _lengths(self, keys: list[bytes], lease: float) -> Iterable[int]:
        if not keys:
            return ()
        return self._store.exists(self._space, Keys(keys), in_ms(lease, "lease"))

    def locate(
        self, keys: Iterable[Key], *, lease: float = LEASE
    ) -> list[tuple[str, int, int, int] | None]:
        """Return where blocks lie, for readers with ways of their own to memory; does not wait.

        Parameters
        ----------
        keys
            The keys.
        lease
            Seconds for which the blocks are not forgotten.

        Returns
        -------
        list of (path, offset, length, crc32c) or None
            For each key, None where there is no block: the segment file, the first byte in it,
            which is a multiple of 4,096, the length in bytes, and the CRC-32C of the block, which
            is contiguous there.

        Notes
        -----
        Such readers, cuFile for one, compare nothing. The place of a block that is replaced or
        deleted meanwhile may be used for another in spite of the lease: the checksum tells.
        """
        wanted = as_keys(keys)
        if not wanted.count:
            return []
        found = self._store.locate(self._space, wanted, in_ms(lease, "lease"))
        return [
            None
            if place is None
            else (place["path"], place["offset"], place["length"], place["crc32c"])
            for place in found
        ]

    # ---- reading ----

    def get(self, key: Key) -> bytes | None:
        """Return a block, None where there is none; waits for the disk."""
        return self.get_many([key])[0]

    def get_many(self, keys: Iterable[Key]) -> list[bytes | None]:
        """Return the blocks of keys, None where there is none; waits for the disk."""
        encoded = each_key(keys)
        found, blocks, memory = self._blocks(encoded)
        if found:
            wanted = Keys([encoded[i] for i in found])
            _keep_loaded(blocks, found, self._store.load(self._space, wanted, memory))
        return blocks

    async def aget(self, key: Key) -> bytes | None:
        """Return a block, None where there is none."""
        return (await self.aget_many([key]))[0]

    async def aget_many(self, keys: Iterable[Key]) -> list[bytes | None]:
        """Return the blocks of keys, None where there is none."""
        encoded = each_key(keys)
        found, blocks, memory = self._blocks(encoded)
        if found:
            wanted = Keys([encoded[i] for i in found])
            _keep_loaded(blocks, found, await self._aload(wanted, memory))
        return blocks

    def _blocks(self, keys: list[bytes]) -> tuple[list[int], list[bytes | None], Memory]:
        """Make room for the blocks there are; a block that is replaced meanwhile is a miss."""
        lengths = self._lengths(keys, LEASE)
        blocks = [None if length < 0 else uninitialised(length) for length in lengths]
        memory = Memory()
        found = []
        for i, block in enumerate(blocks):
            if block is not None:
                memory.add(block, writable=False)
                found.append(i)
        return found, blocks, memory

    def load(self, key: Key, buffer: Any) -> bool:
        """Read a block into memory; waits for the disk.

        Parameters
        ----------
        key
            Its key.
        buffer
            A writable buffer, or a list of several that are filled one after the other. Together
            they have the length of the block.

        Returns
        -------
        bool
            Whether the block was there, as long as the buffer, and sound. If not, the buffer may
            hold anything.
        """
        return self.load_many([key], [buffer])[0]

    def load_many(self, keys: Iterable[Key], buffers: Iterable[Any]) -> list[bool]:
        """Read blocks into memory, each as `load` does; waits for the disk."""
        wanted, memory = _with_buffers(as_keys(keys), buffers, writable=True)
        return _successes(self._store.load(self._space, wanted, memory) if wanted.count else ())

    async def aload(self, key: Key, buffer: Any) -> bool:
        """Read a block into memory, as `load` does.

        When the call is cancelled, the buffer may be written to until the read has ended.
        """
        return (await self.aload_many([key], [buffer]))[0]

    async def aload_many(self, keys: Iterable[Key], buffers: Iterable[Any]) -> list[bool]:
        """Read blocks into memory, each as `aload` does."""
        wanted, memory = _with_buffers(as_keys(keys), buffers, writable=True)
        return _successes(await self._aload(wanted, memory) if wanted.count else ())

    async def _aload(self, wanted: Keys, memory: Memory) -> Iterable[int]:
        return await self._tickets.run(
            lambda: self._store.submit_load(self._space, wanted, memory), memory
        )

    def get_into(
        self, keys: Iterable[Key], addresses: Sequence[Any], lengths: Sequence[Any]
    ) -> list[bool]:
        """Read blocks to addresses; waits for the disk.

        Parameters
        ----------
        keys
            The keys.
        addresses, lengths
            For each key an address of memory that can be written to and its length in bytes, or a
            sequence of such for a block in several pieces. Nothing checks that they are right.

        Returns
        -------
        list of bool
            As of `load`.
        """
        wanted, memory = _with_addresses(as_keys(keys), addresses, lengths)
        return _successes(self._store.load(self._space, wanted, memory) if wanted.count else ())

    # ---- writing ----

    def set(self, key: Key, value: Any, *, ttl: float = 0) -> bool:
        """Store a block, in the place of one that the key has; waits for the disk.

        Parameters
        ----------
        key
            Its key, of up to about 4,000 bytes together with namespace and salt.
        value
            A buffer, or a list of several that are stored one after the other.
        ttl
            Seconds that it lives; 0 is as long as the store's option says.

        Returns
        -------
        bool
            Whether it is stored. A block that is there with the same bytes is not written again.
        """
        return self.set_many([key], [value], ttl=ttl)[0]

    def set_many(self, keys: Iterable[Key], values: Iterable[Any], *, ttl: float = 0) -> list[bool]:
        """Store blocks, each as `set` does; waits for the disk."""
        wanted, memory = _with_buffers(as_keys(keys), values, writable=False)
        return self._stored(wanted, memory, ttl)

    async def aset(self, key: Key, value: Any, *, ttl: float = 0) -> bool:
        """Store a block, as `set` does. False as well where max_store_backlog has no room for it.

        The buffers must not be changed until the call has returned, or has been cancelled and the
        store was closed.
        """
        return (await self.aset_many([key], [value], ttl=ttl))[0]

    async def aset_many(
        self, keys: Iterable[Key], values: Iterable[Any], *, ttl: float = 0
    ) -> list[bool]:
        """Store blocks, each as `aset` does."""
        wanted, memory = _with_buffers(as_keys(keys), values, writable=False)
        ttl_ms = in_ms(ttl, "ttl")
        if not wanted.count:
            return []
        return _successes(
            await self._tickets.run(
                lambda: self._store.submit_store(self._space, wanted, memory, ttl_ms), memory
            )
        )

    def put_from(
        self,
        keys: Iterable[Key],
        addresses: Sequence[Any],
        lengths: Sequence[Any],
        *,
        ttl: float = 0,
    ) -> list[bool]:
        """Store blocks from addresses, given as to `get_into`; waits for the disk."""
        wanted, memory = _with_addresses(as_keys(keys), addresses, lengths)
        return self._stored(wanted, memory, ttl)

    def _stored(self, wanted: Keys, memory: Memory, ttl: float) -> list[bool]:
        ttl_ms = in_ms(ttl, "ttl")
        if not wanted.count:
            return []
        return _successes(self._store.store(self._space, wanted, memory, ttl_ms))

    # ---- keeping and removing ----

    def delete(self, key: Key) -> bool:
        """Remove a block and return whether there was one; waits for the disk."""
        return self.delete_many([key])[0]

    def delete_many(self, keys: Iterable[Key]) -> list[bool]:
        """Remove blocks and return which there were; waits for the disk."""
        wanted = as_keys(keys)
        return _successes(self._store.delete(self._space, wanted) if wanted.count else ())

    def touch(self, key: Key, *, ttl: float = 0) -> bool:
        """Count a read of a block, so that it is kept longer, and return whether there is one.

        With `ttl` it ends after so many seconds from now.
        """
        return _successes(self._store.touch(self._space, Keys([as_key(key)]), in_ms(ttl, "ttl")))[0]

    def pin(self, key: Key) -> bool:
        """Keep a block until `unpin`, also in later openings; return whether there is one.

        Raises
        ------
        InvalidArgumentError
            Pinned blocks would take more than half of the capacity.
        """
        return _successes(self._store.pin(self._space, Keys([as_key(key)]), yes=True))[0]

    def unpin(self, key: Key) -> bool:
        """End what `pin` began; return whether there is the block."""
        return _successes(self._store.pin(self._space, Keys([as_key(key)]), yes=False))[0]

    # ---- the whole ----

    def keys(self, *, namespace: str | None = None, page: int = 500) -> Iterator[bytes]:
        """Iterate over the keys of a namespace, by default the store's, in no order.

        Keys are read from the disk, `page` at a time. Those that come or go meanwhile may be among
        them or not.
        """
        if page < 1:
            raise InvalidArgumentError(f"page is {page}, want at least 1")
        cursor = None
        while True:
            found = self._store.keys(
                self.namespace if namespace is None else namespace, cursor, page
            )
            yield from (base64.b64decode(entry["key"]) for entry in found["keys"])
            if (cursor := found["next"]) is None:
                return

    def namespaces(self) -> dict[str, dict[str, int]]:
        """Return the namespaces that have keys, with the number of keys and their bytes."""
        return {name: usage for name, usage in self.stats()["namespaces"].items() if usage["keys"]}

    def drop_namespace(self, namespace: str) -> int:
        """Remove all keys of a namespace, durably, and return their number; waits for the disk."""
        return self._store.drop(namespace)

    def set_quota(self, salt: str, size: int | str | None) -> None:
        """Bound what the blocks of a salt may take when room is needed.

        While they take more, they are the first that are forgotten. It is kept in later openings;
        None is without bound.
        """
        self._store.set_quota(salt, 0 if size is None else in_bytes(size, "size"))

    def stats(self) -> dict[str, Any]:
        """Return what the store holds, and what it did since it was opened; see docs/kv.md."""
        return self._store.stats()

    def flush(self) -> None:
        """Bring all that was set to the disk; waits for it."""
        self._store.flush()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store.closed

    def close(self) -> None:
        """Close the store; a second call does nothing. Waits for the disk.

        Reads and writes that have begun end; asynchronous ones that wait raise `ClosedError`.
        Servers of the store are closed before.
        """
        for server in self._servers:
            server.close()
        self._store.close()
        self._tickets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _with_buffers(keys: Keys, buffers: Iterable[Any], *, writable: bool) -> tuple[Keys, Memory]:
    memory = Memory()
    for buffer in buffers:
        memory.add(buffer, writable=writable)
    return _as_many(keys, memory)


def _with_addresses(
    keys: Keys, addresses: Sequence[Any], lengths: Sequence[Any]
) -> tuple[Keys, Memory]:
    if len(addresses) != len(lengths):
        raise InvalidArgumentError(f"{len(addresses)} addresses with {len(lengths)} lengths")
    memory = Memory()
    for address, length in zip(addresses, lengths, strict=True):
        memory.add_raw(address, length)
    return _as_many(keys, memory)


def _as_many(keys: Keys, memory: Memory) -> tuple[Keys, Memory]:
    if keys.count != len(memory.pieces):
        raise InvalidArgumentError(f"{keys.count} keys with {len(memory.pieces)} buffers")
    return keys, memory


def _successes(results: Iterable[int]) -> list[bool]:
    return [result > 0 for result in results]


def _keep_loaded(blocks: list[bytes | None], found: list[int], results: Iterable[int]) -> None:
    """Forget the blocks that were not read."""
    for i, result in zip(found, results, strict=True):
        if result <= 0:
            blocks[i] = None
