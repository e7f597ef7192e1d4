"""An open store of blocks under keys.

Memory goes over the boundary as addresses, and nothing is copied. `Memory` finds them and keeps
what they belong to alive.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from persisting._engine import functions
from persisting._engine.handles import Handle, method
from persisting._engine.library import c, exception, scratch
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Results of keys, as in persisting_kv_open.
STORED = 1

# The byte of a number that has its sign, and what turns that into whether it has none.
_SIGN = ctypes.sizeof(ctypes.c_int64) - 1 if sys.byteorder == "little" else 0
_NO_SIGN = bytes(128 * [True] + 128 * [False])

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype = ctypes.py_object
_new_bytes.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t)


def uninitialised(size: int) -> bytes:
    """Return bytes of any content, to be filled before anybody sees them."""
    made: bytes = _new_bytes(None, size)
    return made


def _numbers(kind: str, numbers: list[int]) -> array[int]:
    """Return an array of numbers, which mostly are all the same.

    Those are looked at in a third of the time in which an array is made of a list, and of an
    iterator it is made in four times that.
    """
    if len({*numbers}) == 1:
        return array(kind, numbers[:1]) * len(numbers)
    return array(kind, numbers)


class Keys:
    """The keys of a call: their bytes one behind the other, and their sizes."""

    __slots__ = ("blob", "count", "sizes")

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.count = len(keys)
        self.blob = b"".join(keys)
        self.sizes = _numbers("i", [*map(len, keys)])

    @classmethod
    def of_texts(cls, keys: Sequence[str]) -> Keys:
        """Return the keys of texts; TypeError if one of them is none.

        ASCII, as most keys are, is encoded all at once: 128 keys in 2 us, and one by one in 10.
        """
        text = "".join(keys)
        if not text.isascii():
            return cls([*map(str.encode, keys)])
        made = cls.__new__(cls)
        made.count = len(keys)
        made.blob = text.encode()
        made.sizes = _numbers("i", [*map(len, keys)])
        return made

    @property
    def arguments(self) -> tuple[bytes, int, int]:
        """What C is given; the object must live until the call ends."""
        return self.blob, self.sizes.buffer_info()[0], self.count


def address_of(buffer: memoryview) -> int:
    """Return the address of a writable buffer, which is not kept from being released."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


# As `address_of`, but what it returns keeps the memory where it is.
_one_byte = ctypes.c_char.from_buffer
_nbytes = attrgetter("nbytes")


class Memory:
    """Where the payloads of the keys of a call are, and their results."""

    __slots__ = ("addresses", "kept", "lengths", "pieces", "results")

    def __init__(self) -> None:
        self.pieces = array("i")
        self.addresses = array("Q")
        self.lengths = array("q")
        self.results = array("b")
        self.kept: list[Any] = []

    def add(self, value: Any, *, writable: bool) -> None:
        """Add the memory of one key: a buffer, or several in a list or a tuple."""
        pieces = value if isinstance(value, list | tuple) else (value,)
        for piece in pieces:
            address, length, owner = _locate(piece, writable=writable)
            self.addresses.append(address)
            self.lengths.append(length)
            self.kept.append(owner)
        self._end(len(pieces))

    def add_raw(self, addresses: Any, lengths: Any) -> None:
        """Add the memory of one key by its address and length, or by those of its pieces."""
        if isinstance(addresses, int):
            addresses, lengths = (addresses,), (lengths,)
        if len(addresses) != len(lengths):
            raise InvalidArgumentError(f"{len(addresses)} addresses with {len(lengths)} lengths")
        try:
            self.addresses.extend(addresses)
            self.lengths.extend(lengths)
        except OverflowError as reason:
            raise InvalidArgumentError(f"addresses and lengths: {reason}") from None
        self._end(len(addresses))

    def add_rows(self, addresses: list[int], lengths: list[int]) -> None:
        """Add the memory of several keys at once, each in one piece."""
        count = len(addresses)
        self.addresses += array("Q", addresses)
        self.lengths += _numbers("q", lengths)
        self.pieces += array("i", [1]) * count
        self.results += array("b", [0]) * count

    def add_views(self, views: Sequence[memoryview], *, writable: bool) -> None:
        """Add the memory of several keys, each in one view.

        Writable ones are found by ctypes alone: 128 of them take 51 us, and one by one 155 us.
        """
        try:
            rows = [*map(_one_byte, views)]
            lengths = [*map(_nbytes, views)]
        except (AttributeError, TypeError, ValueError):  # read-only, empty, no view, or wrong
            for view in views:
                self.add(view, writable=writable)
            return
        self.add_rows([*map(ctypes.addressof, rows)], lengths)
        self.kept += rows  # each keeps the memory of its view where it is

    def sizes(self) -> list[int]:
        """Return the length of the payload of each key."""
        ends = [0, *accumulate(self.pieces)]
        return [sum(self.lengths[begin:end]) for begin, end in pairwise(ends)]

    def of(self, keys: Sequence[int]) -> Memory:
        """Return the memory of some of the keys, by their numbers."""
        chosen = Memory()
        begins = [0, *accumulate(self.pieces)]
        for key in keys:
            piece = slice(begins[key], begins[key + 1])
            chosen.add_raw(self.addresses[piece], self.lengths[piece])
        chosen.kept = self.kept
        return chosen

    def _end(self, pieces: int) -> None:
        self.pieces.append(pieces)
        self.results.append(0)

    @property
    def arguments(self) -> tuple[int, int, int]:
        """What C is given but for the results; of no pieces there is an address as well."""
        if not self.addresses:
            self.addresses.append(0)
            self.lengths.append(0)
        return (
            self.pieces.buffer_info()[0],
            self.addresses.buffer_info()[0],
            self.lengths.buffer_info()[0],
        )


def _locate(piece: Any, *, writable: bool) -> tuple[int, int, Any]:
    """Return address and length of a buffer, and what keeps it there."""
    if hasattr(piece, "data_ptr"):  # a torch tensor, which has no buffer protocol
        if piece.device.type != "cpu":
            raise InvalidArgumentError(
                f"the tensor is on {piece.device}: bring it to the CPU first"
            )
        if not piece.is_contiguous():
            raise InvalidArgumentError("the tensor is not contiguous")
        return piece.data_ptr(), piece.numel() * piece.element_size(), piece
    try:
        buffer = pa.py_buffer(piece)
    except (TypeError, ValueError, BufferError, pa.ArrowException) as reason:
        raise InvalidArgumentError(
            f"{type(piece).__name__} is no contiguous buffer: {reason}"
        ) from None
    if writable and not buffer.is_mutable:
        raise InvalidArgumentError(f"{type(piece).__name__} is read-only, and cannot be filled")
    return buffer.address, buffer.size, buffer


class Store(Handle):
    """An open store. Its methods may be called from any thread.

    Parameters
    ----------
    path
        Directory of the store, created if missing, or the address of a server.
    options
        See `persisting_kv_open`, or `persisting_kv_connect`.
    connect
        Whether `path` is an address.
    """

    def __init__(
        self, path: str | os.PathLike[str], options: Mapping[str, Any], *, connect: bool = False
    ) -> None:
        self.path = os.fspath(path)
        begin = functions.kv_connect if connect else functions.kv_open
        super().__init__(begin(self.path, options), functions.kv_close, f"the store {self.path}")
        self._find = c.persisting_kv_find

    delete = method(functions.kv_delete)
    drop = method(functions.kv_drop)
    evict = method(functions.kv_evict)
    exists = method(functions.kv_exists)
    flush = method(functions.kv_flush)
    keys = method(functions.kv_keys)
    locate = method(functions.kv_locate)
    pin = method(functions.kv_pin)
    prefix = method(functions.kv_prefix)
    set_waker = method(functions.kv_set_waker)
    set_quota = method(functions.kv_set_quota)
    space = method(functions.kv_space)
    stats = method(functions.kv_stats)
    touch = method(functions.kv_touch)
    verify = method(functions.kv_verify)

    def find(self, space: int, key: bytes, lease_ms: int) -> int:
        """Return the length of a block, -1 where there is none; does not wait."""
        if self._find(self._number, space, key, len(key), lease_ms, scratch.first, scratch.error):
            raise self._failure(exception(scratch.take_error()))
        return scratch.out[0]

    def present(self, space: int, keys: Keys, lease_ms: int) -> list[bool]:
        """Return whether there is each block; does not wait.

        The signs of the lengths say it, and are looked at together: of 10,000 keys in 70 us, and
        one by one in 2 to 3 ms.
        """
        lengths = bytes(self._use(functions.kv_exists, space, keys, lease_ms))  # their memory
        signs = lengths[_SIGN :: ctypes.sizeof(ctypes.c_int64)]
        return cast("list[bool]", memoryview(signs.translate(_NO_SIGN)).cast("?").tolist())

    def load(self, space: int, keys: Keys, memory: Memory) -> Iterable[int]:
        """Fill memory and return the results."""
        at = memory.results.buffer_info()[0]
        self._use(functions.kv_load, space, keys, *memory.arguments, at)
        return memory.results

    def store(self, space: int, keys: Keys, memory: Memory, ttl_ms: int) -> Iterable[int]:
        """Store what memory holds and return the results."""
        at = memory.results.buffer_info()[0]
        self._use(functions.kv_store, space, keys, *memory.arguments, ttl_ms, at)
        return memory.results

    def submit_load(self, space: int, keys: Keys, memory: Memory) -> int:
        """Begin a `load` and return its ticket; does not wait.

        The caller keeps `memory` until `drain` has returned the ticket.
        """
        at = memory.results.buffer_info()[0]
        return self._use(functions.kv_submit_load, space, keys, *memory.arguments, at)

    def submit_store(self, space: int, keys: Keys, memory: Memory, ttl_ms: int) -> int:
        """Begin a `store`, as `submit_load` does."""
        at = memory.results.buffer_info()[0]
        return self._use(functions.kv_submit_store, space, keys, *memory.arguments, ttl_ms, at)

    def drain(self, most: int = 256) -> list[int]:
        """Return tickets that have ended."""
        tickets = (ctypes.c_uint64 * most)()
        return tickets[: self._use(functions.kv_drain, most, tickets)]


class Server(Handle):
    """What serves an open store to other processes, until it is closed.

    Attributes
    ----------
    addresses : list of str
        What `KVStore.connect` takes, such as ``unix:/run/kv.sock``.
    """

    def __init__(self, store: Store, options: Mapping[str, Any]) -> None:
        number = store._use(functions.kv_serve, options)
        super().__init__(number, functions.kv_server_close, f"the server of {store.path}")
        self.addresses: list[str] = self._use(functions.kv_server_addresses)
