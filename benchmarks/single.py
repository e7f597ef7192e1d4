"""Single puts, acknowledged without waiting for the disk: by one task and by 16.

As in `batch`, ours has each record in its log before it acknowledges. SQLite (synchronous=NORMAL,
a transaction per record) and RocksDB block their caller, so they have one writer only.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.peers import Rocks, Sqlite
from benchmarks.records import encoded, record_bytes, trajectories
from benchmarks.worker import each, one_by_one, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.model import Run

TASKS = 16


async def backend(run: Run, make: Callable[[str], Any], *, count: int) -> None:
    """Measure a backend."""
    records = trajectories(count)

    async def put(laps: list[float], waiting: Iterator[dict[str, Any]]) -> None:
        for record in waiting:
            started = time.perf_counter()
            await target.put(record)
            laps.append(time.perf_counter() - started)

    await warm_up(make, run.path)
    target = make(str(run.path / "one"))
    with run.measure("1 task", put_bytes=record_bytes()) as laps:
        await one_by_one(laps, map(target.put, records))
    if hasattr(target, "close"):
        target.close()
    target = make(str(run.path / "many"))
    with run.measure(f"{TASKS} tasks", put_bytes=record_bytes()) as laps:
        waiting = iter(records)
        await asyncio.gather(*(put(laps, waiting) for _ in range(TASKS)))
    if hasattr(target, "close"):
        target.close()


def store(run: Run, put: Callable[[bytes], None]) -> None:
    """Measure a store of bytes."""
    records = trajectories(run.sized(50_000, 5_000))
    with run.measure("1 task", put_bytes=record_bytes()) as laps:
        each(laps, lambda record: put(encoded(record)), records)


async def persisting(run: Run) -> None:
    """Measure PersistingBackend."""
    from persisting.queue import PersistingBackend

    count = run.sized(50_000, 5_000)
    await backend(run, lambda path: PersistingBackend(0, path), count=count)


async def lance_backend(run: Run) -> None:
    """Measure LanceBackend."""
    from persisting.queue import LanceBackend

    await backend(run, lambda path: LanceBackend(0, path), count=run.sized(50_000, 5_000))


async def version_3(run: Run) -> None:
    """Measure `persisting` 0.3.0, with fewer records: it slows down with each."""
    from persisting.queue import PersistingBackend

    count = run.sized(5_000, 1_000)
    await backend(run, lambda path: PersistingBackend(0, path), count=count)


async def memory(run: Run) -> None:
    """Measure Pulsing's MemoryBackend."""
    from pulsing.streaming import MemoryBackend

    await backend(run, lambda _: MemoryBackend(0), count=run.sized(50_000, 5_000))


async def sqlite(run: Run) -> None:
    """Measure SQLite."""
    database = Sqlite(run.path, "NORMAL")
    store(run, database.put)
    database.close()


async def rocksdict(run: Run) -> None:
    """Measure RocksDB."""
    rocks = Rocks(run.path, sync=False)
    store(run, rocks.put)
    rocks.close()


BENCHMARK = Benchmark(
    "single puts, acknowledged without waiting for the disk",
    {
        "persisting": Side(Environment.OURS, persisting),
        "LanceBackend": Side(Environment.OURS, lance_backend),
        "persisting 0.3.0": Side(Environment.PEERS, version_3),
        "SQLite NORMAL": Side(Environment.PEERS, sqlite),
        "RocksDB": Side(Environment.PEERS, rocksdict),
        "MemoryBackend": Side(Environment.OURS, memory),
    },
    ours=2,
)
