"""Blocks set, read from memory and read from the disk, for the tables in docs/kv.md.

python3 -m benchmarks.kv [--directory DIR] [--mib 192] [--rounds 4] [store] [served] [lookups]

Beside each figure is what the same file system does for one file and the same memory with pread
and pwrite, as many threads as blocks at a time, through the page cache and past it. Sides take
turns; the best of all rounds counts. A second table has a store that another process serves beside
one that is open in this.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from persisting.kv import KVStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIZES = (256 << 10, 3 << 19, 6 << 20)
DEPTHS = (1, 8, 32)
PARTS = ("store", "served", "lookups")


class Side(Protocol):
    """What is measured."""

    def write(self, places: list[int]) -> None: ...

    def sync(self) -> None: ...

    def read(self, places: list[int]) -> None: ...

    def files(self) -> Iterator[Path]: ...

    def close(self) -> None: ...


class Raw:
    """One file, a thread for each block."""

    flags = 0

    def __init__(self, directory: Path, memory: memoryview, size: int, depth: int) -> None:
        self.path = directory / "raw"
        self.size, self.memory = size, memory
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | self.flags)
        os.posix_fallocate(self.fd, 0, len(memory))
        self.pool = ThreadPoolExecutor(depth) if depth > 1 else None

    def _each(self, move: Callable[..., int], places: list[int]) -> None:
        def one(place: int) -> None:
            at = place * self.size
            assert move(self.fd, [self.memory[at : at + self.size]], at) == self.size

        if self.pool is None:
            for place in places:
                one(place)
        else:
            assert len([*self.pool.map(one, places)]) == len(places)

    def write(self, places: list[int]) -> None:
        self._each(os.pwritev, places)

    def sync(self) -> None:
        os.fdatasync(self.fd)

    def read(self, places: list[int]) -> None:
        self._each(os.preadv, places)

    def files(self) -> Iterator[Path]:
        yield self.path

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown()
        os.close(self.fd)


class Direct(Raw):
    """One file past the page cache."""

    flags = os.O_DIRECT


class Ours:
    """A store."""

    def __init__(self, directory: Path, memory: memoryview, size: int, _: int) -> None:
        self.directory = directory / "kv"
        self.size, self.memory = size, memory
        self.store = KVStore(self.directory, capacity=8 * len(memory), sync="never")

    def _arguments(self, places: list[int]) -> tuple[list[str], list[memoryview]]:
        pieces = [self.memory[place * self.size :][: self.size] for place in places]
        return [f"{place:064d}" for place in places], pieces

    def write(self, places: list[int]) -> None:
        assert all(self.store.set_many(*self._arguments(places)))

    def sync(self) -> None:
        self.store.flush()

    def read(self, places: list[int]) -> None:
        assert all(self.store.load_many(*self._arguments(places)))

    def files(self) -> Iterator[Path]:
        yield from self.directory.glob("*.seg")

    def close(self) -> None:
        self.store.close()


class Served(Ours):
    """A store that a process of its own serves over a unix socket."""

    def __init__(self, directory: Path, memory: memoryview, size: int, _: int) -> None:
        self.directory = directory / "kv"
        self.size, self.memory = size, memory
        capacity = str(8 * len(memory))
        place = [str(self.directory), "--socket", str(directory / "s"), "--capacity", capacity]
        command = [sys.executable, "-m", "persisting", "kv", "serve", *place]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline()
        self.store = KVStore.connect(f"unix:{directory / 's'}")

    def close(self) -> None:
        super().close()
        self.process.terminate()
        with self.process:
            assert self.process.wait(60) == 0


def forget(side: Side) -> None:
    """Have the system drop what it keeps of the files in memory."""
    for path in side.files():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(work: Callable[[list[int]], None], order: list[int], depth: int) -> float:
    """Return the seconds in which all places are moved, `depth` at a time."""
    began = time.perf_counter()
    for first in range(0, len(order), depth):
        work(order[first : first + depth])
    return time.perf_counter() - began


def turn(side: Side, count: int, depth: int) -> tuple[float, float, float]:
    """Return the seconds of all sets with a sync, of hot and of cold reads."""
    order = [*range(count)]
    began = time.perf_counter()
    timed(side.write, order, depth)
    side.sync()
    wrote = time.perf_counter() - began
    random.shuffle(order)
    forget(side)
    cold = timed(side.read, order, depth)
    return wrote, min(timed(side.read, order, depth) for _ in range(4)), cold


def table(
    directory: Path,
    total: int,
    rounds: int,
    sides: tuple[type[Ours | Raw], ...],
    sizes: Sequence[int] = SIZES,
    depths: Sequence[int] = DEPTHS,
) -> None:
    """Print the table of blocks, of sides beside each other."""
    memory = memoryview(mmap.mmap(-1, total))
    memory[:] = random.Random(1).randbytes(total)
    names = {Ours: "store", Raw: "raw", Direct: "O_DIRECT", Served: "served"}
    print(
        f"| GB/s, {' / '.join(names[side] for side in sides)} | blocks at a time | set and flush "
        "| get, in memory | get, from disk |"
    )
    print("|---|---:|---:|---:|---:|")
    for size in sizes:
        for depth in depths:
            count = total // size
            best: dict[type, list[float]] = {}
            for number in range(rounds):
                for make in sides if number % 2 else reversed(sides):
                    with tempfile.TemporaryDirectory(dir=directory) as path:
                        side: Side = make(Path(path), memory, size, depth)
                        with contextlib.closing(side):
                            took = turn(side, count, depth)
                    before = best.get(make, [9e9] * 3)
                    best[make] = [min(pair) for pair in zip(before, took, strict=True)]
            moved = count * size / 1e9
            cells = [
                " / ".join(f"{moved / took:.2f}" for took in column)
                for column in zip(*(best[side] for side in sides), strict=True)
            ]
            print(f"| {size / 2**20:g} MiB | {depth} | {' | '.join(cells)} |", flush=True)


def lookups(directory: Path) -> None:
    """Print what looking costs, and an opening, with many small blocks."""
    count = 100_000
    keys = [f"{i:064x}" for i in range(count)]
    with tempfile.TemporaryDirectory(dir=directory) as path:
        with KVStore(path, capacity="4 GiB", sync="never") as store:
            for first in range(0, count, 1000):
                store.set_many(keys[first : first + 1000], [b"x"] * 1000)
            laps = []
            for key in keys[:20_000]:
                began = time.perf_counter()
                store.exists(key)
                laps.append(time.perf_counter() - began)
            many = []
            for _ in range(20):
                began = time.perf_counter()
                store.exists_many(keys[:10_000])
                many.append(time.perf_counter() - began)
            assert store.stats()["keys"] == count
        began = time.perf_counter()
        with KVStore(path, capacity="4 GiB", sync="never") as store:
            opened = time.perf_counter() - began
            assert store.stats()["keys"] == count
    print(f"exists: {sorted(laps)[len(laps) // 2] * 1e6:.2f} us, median")
    print(f"exists_many of 10,000 keys: {min(many) * 1e3:.2f} ms at best")
    print(f"opening with {count:,} keys: {opened * 1e3:.0f} ms")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.kv")
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--mib", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kib", type=int, nargs="+", default=[size >> 10 for size in SIZES])
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}, want some of {[*PARTS]}")
    sizes = [kib << 10 for kib in arguments.kib]
    for part in arguments.parts or PARTS:
        if part == "lookups":
            lookups(arguments.directory)
            continue
        sides = (Ours, Raw, Direct) if part == "store" else (Served, Ours)
        total = arguments.mib << 20
        table(arguments.directory, total, arguments.rounds, sides, sizes, arguments.depths)


if __name__ == "__main__":
    main()
