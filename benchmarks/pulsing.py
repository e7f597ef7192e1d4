"""Through a real Pulsing queue: our backend beside Pulsing's MemoryBackend, the ceiling.

One bucket, options as they come; a first put, which opens it, is not counted. Records are put by
one task and by 64, and read back in pages of 1,000. Nearly all of the time is Pulsing's own; the
ratio says what durability costs on top.
"""

from __future__ import annotations

import asyncio
import itertools
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
    await system.shutdown()


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
