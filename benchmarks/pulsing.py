"""Through a real Pulsing queue: our backend beside Pulsing's MemoryBackend, the ceiling.

One bucket, options as they come; a first put, which opens it, is not counted. Records are put by
one task and by 64, and read back in pages of 1,000. Nearly all of the time is Pulsing's own; the
ratio says what durability costs on top.

And in the shape of Pulsing's own benchmark of queues: 16 buckets of one topic, small records with
random keys, and readers that share the buckets and wait, 100 records at a time, while 10 tasks put.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import record_bytes, trajectories
from benchmarks.worker import one_by_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.model import Run

WRITERS = 64
PAGE = 1_000

# The shape of Pulsing's own benchmark.
BUCKETS = 16
PAIRS = 10  # writers, and as many readers
KEYS = 10_000
SHARE = 100
PATIENCE = 1.0  # seconds


async def work(run: Run, backend: str) -> None:
    """Measure a queue with a backend."""
    from pulsing.core import ActorSystem, SystemConfig
    from pulsing.streaming import read_queue, write_queue

    system = await ActorSystem.create(SystemConfig.standalone(), asyncio.get_running_loop())
    options: dict[str, Any] = {
        "num_buckets": 1,
        "storage_path": str(run.path),
        "backend": backend,
    }
    writer = await write_queue(system, "bench", bucket_column="trajectory", **options)
    records = trajectories(run.sized(10_000, 1_000))
    await writer.put(records[0])
    half = len(records) // 2
    with run.measure("put, 1 task", put_bytes=record_bytes()) as laps:
        await one_by_one(laps, map(writer.put, records[:half]))

    async def put(laps: list[float], waiting: Iterator[dict[str, Any]]) -> None:
        for record in waiting:
            started = time.perf_counter()
            await writer.put(record)
            laps.append(time.perf_counter() - started)

    with run.measure(f"put, {WRITERS} tasks", put_bytes=record_bytes()) as laps:
        waiting = iter(records[half:])
        await asyncio.gather(*(put(laps, waiting) for _ in range(WRITERS)))
    repeats = run.sized(5, 2)
    with run.measure("get", PAGE) as laps:
        for _ in range(repeats):
            reader = await read_queue(system, "bench", **options)
            pages = itertools.repeat(PAGE, len(records) // PAGE)
            await one_by_one(laps, (reader.get(limit=page) for page in pages))
    assert len(await reader.get(limit=PAGE)) == 1
    await pairs(
        run, system, {**options, "num_buckets": BUCKETS, "storage_path": str(run.path / "pairs")}
    )
    await system.shutdown()


def user(chance: random.Random) -> dict[str, Any]:
    """Make a record as Pulsing's benchmark does."""
    return {
        "id": f"user_{chance.randrange(KEYS)}",
        "timestamp": time.time(),
        "value": chance.randrange(1_000_000),
        "data": "".join(chance.choices(string.ascii_letters, k=100)),
    }


async def pairs(run: Run, system: Any, options: dict[str, Any]) -> None:
    """Measure puts and gets of many tasks at a time in many buckets."""
    from pulsing.streaming import read_queue, write_queue

    chance = random.Random(0)
    writer = await write_queue(system, "pairs", bucket_column="id", **options)
    first = [{**user(chance), "id": f"user_{n}"} for n in range(BUCKETS * 20)]
    await writer.put(first)  # opens all buckets
    records = [user(chance) for _ in range(run.sized(20_000, 2_000))]
    waiting, left = iter(records), len(first) + len(records)

    async def put(laps: list[float]) -> None:
        for record in waiting:
            started = time.perf_counter()
            await writer.put(record)
            laps.append(time.perf_counter() - started)

    async def get(rank: int) -> None:
        nonlocal left
        reader = await read_queue(system, "pairs", rank=rank, world_size=PAIRS, **options)
        while left:
            got = await reader.get(limit=SHARE, wait=True, timeout=PATIENCE)
            left -= len(got)

    with run.measure(f"put, {PAIRS} tasks beside {PAIRS} readers, {BUCKETS} buckets") as laps:
        readers = [asyncio.ensure_future(get(rank)) for rank in range(PAIRS)]
        await asyncio.gather(*(put(laps) for _ in range(PAIRS)))
    await asyncio.gather(*readers)


async def persisting(run: Run) -> None:
    """Measure ours."""
    from pulsing.streaming import register_backend

    from persisting.queue import PersistingBackend

    register_backend("persisting", PersistingBackend)
    await work(run, "persisting")


async def memory(run: Run) -> None:
    """Measure MemoryBackend."""
    await work(run, "memory")


BENCHMARK = Benchmark(
    "through a Pulsing queue, beside its MemoryBackend",
    {
        "persisting": Side(Environment.OURS, persisting),
        "MemoryBackend": Side(Environment.OURS, memory),
    },
    rounds=7,
)
