"""Durable puts: an acknowledgement means that the record is on the disk (wal_sync_interval=0).

Each side puts records of 400 bytes for some seconds, each writer waiting for one acknowledgement
before its next put: first one writer, then 64. Ours and NATS JetStream (a real server on loopback,
file store, `sync_interval: always`) run 64 tasks in one event loop, the embedded stores, which
block their caller, 64 threads. SQLite has journal_mode=WAL, synchronous=FULL and one connection
that the threads share; one for each was no faster. `fdatasync` is the disk alone: 400 bytes written
to a file whose blocks exist, then fdatasync. Bytes written are not shown: for a synced write into
such a file the kernel counts up to 1 MiB, whatever goes to the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.peers import RawFile, Rocks, Sqlite, jetstream, nats_server
from benchmarks.records import encoded, trajectories
from benchmarks.worker import warm_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.model import Run

WRITERS = 64


def seconds(run: Run) -> float:
    """Return how long each section takes."""
    return 0.5 if run.quick else 3.0


async def measure_tasks(run: Run, put: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
    """Measure a put that is awaited: by one task, then by 64."""
    clock = time.perf_counter
    records = trajectories(1_000)

    async def writer(laps: list[float], deadline: float, first: int) -> None:
        for record in itertools.cycle(records[first:] + records[:first]):
            started = clock()
            if started > deadline:
                return
            await put(record)
            laps.append(clock() - started)

    with run.measure("1 writer") as laps:
        await writer(laps, clock() + seconds(run), 0)
    with run.measure(f"{WRITERS} writers") as laps:
        deadline = clock() + seconds(run)
        await asyncio.gather(*(writer(laps, deadline, number) for number in range(WRITERS)))


def measure_threads(run: Run, put: Callable[[bytes], None], counts: tuple[int, ...]) -> None:
    """Measure a put that blocks: by each number of threads."""
    clock = time.perf_counter
    records = trajectories(1_000)

    def writer(laps: list[float], deadline: float, first: int) -> None:
        for record in itertools.cycle(records[first:] + records[:first]):
            started = clock()
            if started > deadline:
                return
            put(encoded(record))
            laps.append(clock() - started)

    for count in counts:
        name = "1 writer" if count == 1 else f"{count} writers"
        with run.measure(name) as laps:
            end = clock() + seconds(run)
            threads = [
                threading.Thread(target=writer, args=(laps, end, number)) for number in range(count)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


async def persisting(run: Run) -> None:
    """Measure ours."""
    from persisting.queue import PersistingBackend

    def make(path: str) -> PersistingBackend:
        return PersistingBackend(0, path, wal_sync_interval=0)

    await warm_up(make, run.path)
    backend = make(str(run.path / "bucket"))
    await measure_tasks(run, backend.put)
    await backend.aclose()


async def fdatasync(run: Run) -> None:
    """Measure the disk."""
    file = RawFile(run.path)
    measure_threads(run, file.put, (1,))
    file.close()


async def rocksdict(run: Run) -> None:
    """Measure RocksDB with WriteOptions.sync."""
    rocks = Rocks(run.path, sync=True)
    measure_threads(run, rocks.put, (1, WRITERS))
    rocks.close()


async def sqlite(run: Run) -> None:
    """Measure SQLite with synchronous=FULL."""
    database = Sqlite(run.path, "FULL")
    measure_threads(run, database.put, (1, WRITERS))
    database.close()


async def nats(run: Run) -> None:
    """Measure NATS JetStream."""
    with nats_server(run) as address:
        async with jetstream(address) as stream:

            async def put(record: dict[str, Any]) -> None:
                await stream.publish("queue", encoded(record))

            await measure_tasks(run, put)


BENCHMARK = Benchmark(
    "durable puts of 400 bytes, one writer and 64",
    {
        "persisting": Side(Environment.OURS, persisting),
        "fdatasync": Side(Environment.PEERS, fdatasync),
        "RocksDB sync": Side(Environment.PEERS, rocksdict),
        "SQLite FULL": Side(Environment.PEERS, sqlite),
        "NATS JetStream": Side(Environment.PEERS, nats),
    },
)
