"""Batches of 100 records, acknowledged without waiting for the disk, in every store.

Ours writes each batch to its log before it acknowledges (wal_sync_interval=1.0), so a killed
process loses nothing; LanceBackend and Pulsing's MemoryBackend would lose it. SQLite has
synchronous=NORMAL, RocksDB a write-ahead log without sync; both are given the records as JSON, made
within the measured time. pylance appends an Arrow table made of the records.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.peers import Rocks, Sqlite
from benchmarks.records import batches, encoded, json_bytes, record_bytes, trajectories
from benchmarks.worker import each, one_by_one, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Run

    Records = list[dict[str, Any]]

BATCH = 100
POOL = 20_000


def workloads(run: Run, *, slow: bool) -> list[tuple[str, list[Records]]]:
    """Return the lists of records of each figure; slow sides are spared the long one."""
    lists = batches(trajectories(run.sized(POOL, 2_000)), BATCH)
    few = [(f"{POOL:,} records", lists)]
    many = list(itertools.islice(itertools.cycle(lists), len(lists) * 10))
    return few if slow else [*few, (f"{POOL * 10:,} records", many)]


async def backend(run: Run, make: Callable[[str], Any], *, slow: bool = False) -> None:
    """Measure a backend."""
    await warm_up(make, run.path)
    for name, lists in workloads(run, slow=slow):
        target = make(str(run.path / str(len(lists))))
        with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
            await one_by_one(laps, map(target.put_batch, lists))
        if hasattr(target, "close"):
            target.close()


async def store(run: Run, put_batch: Callable[[list[bytes]], None]) -> None:
    """Measure a store of bytes."""

    def put(records: Records) -> None:
        put_batch([encoded(record) for record in records])

    for name, lists in workloads(run, slow=False):
        with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
            each(laps, put, lists)


async def persisting(run: Run) -> None:
    """Measure PersistingBackend."""
    from persisting.queue import PersistingBackend

    await backend(run, lambda path: PersistingBackend(0, path))
    run.note_disk(sum(map(json_bytes, (r for _, w in workloads(run, slow=False) for r in w))))


async def lance_backend(run: Run) -> None:
    """Measure LanceBackend."""
    from persisting.queue import LanceBackend

    await backend(run, lambda path: LanceBackend(0, path))


async def version_3(run: Run) -> None:
    """Measure `persisting` 0.3.0."""
    from persisting.queue import PersistingBackend

    await backend(run, lambda path: PersistingBackend(0, path), slow=True)


async def memory(run: Run) -> None:
    """Measure Pulsing's MemoryBackend."""
    from pulsing.streaming import MemoryBackend

    await backend(run, lambda _: MemoryBackend(0))


async def sqlite(run: Run) -> None:
    """Measure SQLite."""
    database = Sqlite(run.path, "NORMAL")
    await store(run, database.put_batch)
    database.close()


async def rocksdict(run: Run) -> None:
    """Measure RocksDB."""
    rocks = Rocks(run.path, sync=False)
    await store(run, rocks.put_batch)
    rocks.close()


async def pylance(run: Run) -> None:
    """Measure pylance."""
    import lance
    import pyarrow as pa

    def append(records: Records) -> None:
        lance.write_dataset(pa.Table.from_pylist(records), str(run.path / "table"), mode="append")

    for name, lists in workloads(run, slow=True):
        with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
            each(laps, append, lists)


BENCHMARK = Benchmark(
    "batches of 100 records, acknowledged without waiting for the disk",
    {
        "persisting": Side(Environment.OURS, persisting),
        "LanceBackend": Side(Environment.OURS, lance_backend),
        "persisting 0.3.0": Side(Environment.PEERS, version_3),
        "pylance append": Side(Environment.PEERS, pylance),
        "SQLite NORMAL": Side(Environment.PEERS, sqlite),
        "RocksDB": Side(Environment.PEERS, rocksdict),
        "MemoryBackend": Side(Environment.OURS, memory),
    },
    ours=2,
)
