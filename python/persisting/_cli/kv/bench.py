"""Measure how fast blocks are stored and read on a disk, beside the disk itself.

Makes a store in a directory of its own below PATH, and removes it. "set" includes the
flush to the disk; "memory" are reads of what the system keeps of the files, "disk" are
reads after it was told to forget that. Beside each is the rate of plain writes and
reads of one file, of the same sizes, as many at a time.

Status: 0, or 2 when it could not run.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from persisting._cli._buckets import size
from persisting._errors import InvalidArgumentError, StorageError
from persisting.kv import KVStore
from persisting.kv._sizes import in_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

PHASES = ("set", "memory", "disk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a directory on the disk to measure"
    )
    parser.add_argument("--size", default="1.5 MiB", help="of a block; default %(default)s")
    parser.add_argument(
        "--depth", type=int, default=8, help="blocks at a time; default %(default)s"
    )
    parser.add_argument("--total", default="256 MiB", help="of all blocks; default %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and return the status."""
    block, total = in_bytes(arguments.size, "--size"), in_bytes(arguments.total, "--total")
    depth = arguments.depth
    if not 1 <= depth <= 1024:
        raise InvalidArgumentError(f"--depth: want 1 to 1024, got {depth}")
    if not 1 <= block <= total:
        raise InvalidArgumentError(f"--size: want 1 byte to --total, got {arguments.size}")
    places = list(range(total // block))
    content = os.urandom(min(total, 1 << 26) + block)
    values = [memoryview(content)[i * block % (1 << 26) :][:block] for i in places]
    with tempfile.TemporaryDirectory(dir=arguments.path, prefix="bench-") as directory:
        sides = {"store": Blocks(Path(directory), block, total), "raw": Raw(Path(directory), block)}
        rates = {name: measure(side, values, depth) for name, side in sides.items()}
    print(f"{len(places)} blocks of {size(block)}, {depth} at a time, GB/s")
    for phase in PHASES:
        print(f"  {phase:<8}{rates['store'][phase]:7.2f}   raw {rates['raw'][phase]:7.2f}")
    return 0


class Side(Protocol):
    """What is measured."""

    def write(self, places: list[int], values: list[memoryview]) -> bool:
        """Write blocks, as many at a time as there are; tell whether all are written."""

    def sync(self) -> None:
        """Bring them to the disk."""

    def read(self, places: list[int], buffers: list[bytearray]) -> bool:
        """Read blocks, as many at a time as there are; tell whether all were."""

    def files(self) -> list[Path]:
        """Return the files that have them."""

    def close(self) -> None:
        """Let go of all."""


class Blocks:
    """A store."""

    def __init__(self, directory: Path, block: int, total: int) -> None:
        self._directory = directory / "kv"
        capacity = 2 * total + 64 * block + (1 << 28)
        self._store = KVStore(self._directory, capacity=capacity, sync="never")

    def write(self, places: list[int], values: list[memoryview]) -> bool:
        return all(self._store.set_many(map(str, places), values))

    def sync(self) -> None:
        self._store.flush()

    def read(self, places: list[int], buffers: list[bytearray]) -> bool:
        return all(self._store.load_many(map(str, places), buffers))

    def files(self) -> list[Path]:
        return list(self._directory.glob("*.seg"))

    def close(self) -> None:
        self._store.close()


class Raw:
    """One file, with a thread for each block of a call."""

    def __init__(self, directory: Path, block: int) -> None:
        self._path, self._block = directory / "raw", block
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT)
        self._threads = ThreadPoolExecutor(1024)

    def _each(self, move: Callable[..., int], places: list[int], memory: list[Any]) -> bool:
        moved = self._threads.map(
            lambda place, piece: move(self._fd, [piece], place * self._block), places, memory
        )
        return all(n == self._block for n in moved)

    def write(self, places: list[int], values: list[memoryview]) -> bool:
        return self._each(os.pwritev, places, values)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def read(self, places: list[int], buffers: list[bytearray]) -> bool:
        return self._each(os.preadv, places, buffers)

    def files(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._threads.shutdown()
        os.close(self._fd)


def measure(side: Side, values: list[memoryview], depth: int) -> dict[str, float]:
    """Return the rates of a side in GB/s; it is closed afterwards."""
    try:
        buffers = [bytearray(len(values[0])) for _ in range(depth)]
        moved = sum(map(len, values)) / 1e9

        def timed(work: Callable[[list[int]], bool]) -> float:
            began = time.perf_counter()
            for first in range(0, len(values), depth):
                if not work(list(range(first, min(first + depth, len(values))))):
                    raise StorageError("the disk has not taken or given a block: is it full?")
            return time.perf_counter() - began

        def write(places: list[int]) -> bool:
            return side.write(places, [values[i] for i in places])

        def read(places: list[int]) -> bool:
            return side.read(places, buffers[: len(places)])

        began = time.perf_counter()
        timed(write)
        side.sync()
        rates = {"set": moved / (time.perf_counter() - began)}
        rates["memory"] = moved / timed(read)
        for path in side.files():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        rates["disk"] = moved / timed(read)
        return rates
    finally:
        side.close()
