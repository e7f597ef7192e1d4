"""Recovery: open a bucket whose write-ahead log holds 200 MB that are not in Lance.

A process puts records in batches of 100 and ends without closing. Its log is then read, file by
file, and replayed by opening the bucket; before each, the log is dropped from the page cache.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side, disk_bytes
from benchmarks.records import batches, trajectories

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.model import Run

BATCH = 100
POOL = 10_000
BLOCK = 1 << 20
NO_FLUSH: dict[str, Any] = {
    "flush_threshold": 1 << 30,
    "flush_bytes": 1 << 30,
    "flush_interval": 0,
    "max_wal_size": 1 << 30,
}


def fill(path: str, size: int) -> None:
    """Put records until the log has that many bytes, and end without closing."""
    import asyncio

    from persisting.queue import PersistingBackend

    async def put() -> None:
        backend = PersistingBackend(0, path, **NO_FLUSH)
        lists = batches(trajectories(POOL), BATCH)
        while True:
            for records in lists:
                await backend.put_batch(records)
            stats = await backend.stats()
            if stats["wal_bytes"] >= size:
                os._exit(0)

    asyncio.run(put())


def forget(files: list[Path]) -> None:
    """Drop files from the page cache."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def read(files: list[Path]) -> None:
    """Read files from start to end."""
    buffer = bytearray(BLOCK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


async def raw(run: Run) -> None:
    """Measure reading files of that size."""
    size = run.sized(200_000_000, 20_000_000)
    file = run.path / "file"
    file.write_bytes(os.urandom(size))
    for temperature in ("cold", "warm"):
        if temperature == "cold":
            forget([file])
        with run.measure(f"replay, {temperature}", size / 1e6, "MB") as laps:
            started = time.perf_counter()
            read([file])
            laps.append(time.perf_counter() - started)


async def persisting(run: Run) -> None:
    """Measure opening."""
    from persisting.queue import PersistingBackend

    size = run.sized(200_000_000, 20_000_000)
    for temperature in ("cold", "warm"):
        path = run.path / temperature
        filler = multiprocessing.get_context("spawn").Process(target=fill, args=(str(path), size))
        filler.start()
        filler.join()
        files = sorted((path / "wal").iterdir())
        if temperature == "cold":
            forget(files)
        else:
            read(files)
        size_on_disk = disk_bytes(path / "wal")
        with run.measure(f"replay, {temperature}", size_on_disk / 1e6, "MB") as laps:
            started = time.perf_counter()
            backend = PersistingBackend(0, str(path), **NO_FLUSH)
            last = backend.total_count() - 1
            assert len(await backend.get(2, last)) == 1
            laps.append(time.perf_counter() - started)
        run.notes["records replayed"] = last + 1
        backend.close()


BENCHMARK = Benchmark(
    "opening a bucket with 200 MB in its log, beside reading a file of that size",
    {
        "persisting": Side(Environment.OURS, persisting),
        "read": Side(Environment.PEERS, raw),
    },
)
