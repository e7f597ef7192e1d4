"""Batches of records, acknowledged without waiting for the disk, in every store.

Agent trajectories of about 400 bytes in batches of 10, 100 and 10,000, rows of 64 floats, and
binary values of 1 MB. Ours writes each batch to its log before it acknowledges
(wal_sync_interval=1.0), so a killed process loses nothing; LanceBackend and Pulsing's MemoryBackend
would lose it, and so would 0.3.0, which writes from 100 records on: none of those of 1 MB. SQLite
has synchronous=NORMAL, RocksDB a write-ahead log without sync; both are given the records as JSON,
made within the measured time, or the value of 1 MB as it is. pylance appends an Arrow table made of
the records. It and 0.3.0 are given a tenth of the records, as their batches cost more the more
there are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.peers import Rocks, Sqlite
from benchmarks.records import batches, blobs, encoded, trajectories, wide
from benchmarks.worker import each, one_by_one, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Run

    Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Workload:
    """Batches that are put one after the other.

    Attributes
    ----------
    name
        Of the figure.
    lists
        The batches, all of one size.
    payload
        Returns what a store of bytes is given for a record.
    """

    name: str
    lists: list[Records]
    payload: Callable[[dict[str, Any]], bytes] = encoded

    @property
    def batch(self) -> int:
        """Records of a batch."""
        return len(self.lists[0])

    @property
    def record_bytes(self) -> float:
        """Mean bytes of a record of the first batch."""
        return sum(len(self.payload(record)) for record in self.lists[0]) / self.batch

    @property
    def put_bytes(self) -> float:
        """Bytes of all batches."""
        return self.record_bytes * self.batch * len(self.lists)


def state(record: dict[str, Any]) -> bytes:
    """Return the binary value of a record."""
    value = record["state"]
    assert isinstance(value, bytes)
    return value


def workloads(run: Run, *, slow: bool) -> list[Workload]:
    """Return what is put; a slow side is spared nine tenths of it."""
    times = 1 if slow else 10

    def repeated(records: Records, size: int, share: int) -> list[Records]:
        lists = itertools.cycle(batches(records, size))
        return list(itertools.islice(lists, max(share * times // run.sized(1, 10) // size, 1)))

    agents, floats, values = trajectories(10_000), wide(2_000), blobs(20)
    return [
        Workload("10 x 400 bytes", repeated(agents, 10, 2_000)),
        Workload("100 x 400 bytes", repeated(agents, 100, 20_000)),
        Workload("10,000 x 400 bytes", repeated(agents, 10_000, 20_000)),
        Workload("100 x 64 floats", repeated(floats, 100, 2_000)),
        Workload("10 x 1 MB", repeated(values, 10, 40), state),
    ]


async def backend(run: Run, make: Callable[[str], Any], *, slow: bool = False) -> None:
    """Measure a backend."""
    await warm_up(make, run.path)
    for work in workloads(run, slow=slow):
        target = make(str(run.path / work.name.replace(" ", "-")))
        with run.measure(work.name, work.batch, put_bytes=work.record_bytes) as laps:
            await one_by_one(laps, map(target.put_batch, work.lists))
        if hasattr(target, "close"):
            target.close()


async def store(run: Run, put_batch: Callable[[list[bytes]], None]) -> None:
    """Measure a store of bytes."""
    for work in workloads(run, slow=False):

        def put(records: Records, payload: Callable[[Any], bytes] = work.payload) -> None:
            put_batch([payload(record) for record in records])

        with run.measure(work.name, work.batch, put_bytes=work.record_bytes) as laps:
            each(laps, put, work.lists)


async def persisting(run: Run) -> None:
    """Measure PersistingBackend."""
    from persisting.queue import PersistingBackend

    await backend(run, lambda path: PersistingBackend(0, path))
    run.note_disk(sum(work.put_bytes for work in workloads(run, slow=False)))


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

    for work in workloads(run, slow=True):
        path = str(run.path / work.name.replace(" ", "-"))

        def append(records: Records, path: str = path) -> None:
            lance.write_dataset(pa.Table.from_pylist(records), path, mode="append")

        with run.measure(work.name, work.batch, put_bytes=work.record_bytes) as laps:
            each(laps, append, work.lists)


BENCHMARK = Benchmark(
    "batches of records, acknowledged without waiting for the disk",
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
    rounds=3,
)
