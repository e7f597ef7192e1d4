"""Puts that do not call the engine.

A call into the engine costs little by itself, but it wakes threads. What a put would hand over is
written into a mapped file instead, which survives the process; the engine takes it from there. The
format is described in the package comment of `engine/ring`.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import weakref
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from persisting._errors import PersistingError

if TYPE_CHECKING:
    from persisting._engine.bucket import Bucket
    from persisting._engine.columns import Columns

_logger = logging.getLogger(__name__)

_HEAD, _TAIL, _HOLD, _WATCHED = 64 // 8, 128 // 8, 136 // 8, 144 // 8
_CAPACITY = struct.Struct("<48xQI")
_ENTRIES = 64 << 10
_ENTRY = struct.Struct("<IIQQ")
_CHECKED = struct.Struct("<IQQ")
_NO_MORE = struct.Struct("<4xI")


class Ring:
    """The ring of a bucket, for messages of certain columns.

    Parameters
    ----------
    bucket
        The open bucket.

    Attributes
    ----------
    following : int
        The offset of the next row; whoever appends in another way brings it up to date.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._map: mmap.mmap | None = None
        self._usable = False
        self._cannot = False
        self.following = 0

    def open(self, columns: Columns) -> bool:
        """Make it take messages of `columns`, and no others, if that can be now."""
        self._usable = False
        if self._cannot:
            return False
        try:
            following = self._bucket.open_ring(columns)
        except PersistingError:  # it has to wait; or the next put tells what is wrong
            return False
        if following < 0:
            return False
        if self._map is None and not self._map_file():
            return False
        self._head = self._ask = self._words[_HEAD]
        self.following = following
        self._usable = True
        return True

    def _map_file(self) -> bool:
        """Map the file; puts go on without it where that cannot be."""
        try:
            with Path(self._bucket.path, "puts.ring").open("r+b") as file:
                mapped = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError) as error:  # no descriptor is left, say
            self._cannot = True
            _logger.warning("puts go without a ring, which takes longer: %s", error)
            return False
        self._capacity, self._salt = _CAPACITY.unpack_from(mapped)
        self._words = memoryview(mapped).cast("Q")
        self._largest = self._capacity // 8
        self._map = mapped
        _rings.add(self)
        return True

    def close(self) -> None:
        """Take no more messages."""
        self._usable = False

    def put(self, message: bytes, rows: int) -> bool:
        """Store the rows of a message; False, with nothing done, where a call has to do that."""
        length = len(message)
        if not self._usable or length > self._largest:
            return False
        words, head, capacity = self._words, self._head, self._capacity
        at = head % capacity
        end = head + (length + _ENTRY.size + 7 & -8)
        rest = capacity - at
        wraps = end - head > rest
        if wraps:
            end += rest
        used = end - words[_TAIL]
        if words[_HOLD] or used > capacity:
            return False
        memory = self._map
        assert memory is not None
        at += _ENTRIES
        if wraps:
            _NO_MORE.pack_into(memory, at, 0xFFFFFFFF)
            at = _ENTRIES
        first = self.following
        checksum = crc32(message, crc32(_CHECKED.pack(length, rows, first), self._salt))
        _ENTRY.pack_into(memory, at, checksum, length, rows, first)
        at += _ENTRY.size
        memory[at : at + length] = message
        # An exception out of nowhere, as Ctrl-C is one, comes with a call: not between these two.
        words[_HEAD] = self._head = end
        self.following = first + rows
        if not words[_WATCHED] or (used > capacity >> 1 and end >= self._ask):
            self._ask = end + (capacity >> 2)
            self._bucket.drain_ring()
        return True


_rings: weakref.WeakSet[Ring] = weakref.WeakSet()


def _close_all() -> None:
    for ring in _rings:
        ring.close()


# A forked child shares the file with its parent, and has no engine.
os.register_at_fork(after_in_child=_close_all)
