"""Much at a time in one process: readers at the tail, compactions, many buckets.

16 readers follow a bucket by `get_stream(wait=True)` while a writer puts batches of 100; random
single reads go on while the table, made of many small fragments, is compacted; the same records go
in batches of 100 into one bucket and into 64. "MB for each idle bucket" is what the resident memory
grows by when 64 buckets with a table each are opened and left alone.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, record_bytes, trajectories
from benchmarks.worker import one_by_one, warm_up

if TYPE_CHECKING:
    from benchmarks.model import Run

BATCH = 100
READERS = 16
BUCKETS = 64


def resident() -> float:
    """Return the resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError("the kernel does not tell VmRSS")


async def tail(run: Run, lists: list[Any]) -> None:
    """Measure readers that follow a writer."""
    from persisting.queue import PersistingBackend

    count = len(lists) * BATCH
    backend = PersistingBackend(0, str(run.path / "tail"))

    async def follow(laps: list[float]) -> None:
        got = 0
        async for page in backend.get_stream(count, 0, wait=True):
            laps.append(time.perf_counter())
            got += len(page)
        assert got == count

    name = f"put_batch(100), {READERS} readers"
    with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
        seen: list[float] = []
        readers = [asyncio.ensure_future(follow(seen)) for _ in range(READERS)]
        await one_by_one(laps, map(backend.put_batch, lists))
        await asyncio.gather(*readers)
    await backend.aclose()


async def compaction(run: Run, lists: list[Any]) -> None:
    """Measure reads while the table is compacted."""
    from persisting.queue import PersistingBackend

    rng = random.Random(1)
    path = str(run.path / "compaction")
    backend = PersistingBackend(0, path, compaction_threshold=0)
    for records in lists:
        await backend.put_batch(records)
        await backend.flush()
    await backend.aclose()
    backend = PersistingBackend(0, path, compaction_threshold=0)
    rows = backend.total_count()
    with run.measure("get(1, random), compacting") as laps:
        compacting = asyncio.ensure_future(backend.compact())
        while not compacting.done():
            await one_by_one(laps, [backend.get(1, rng.randrange(rows))])
            await asyncio.sleep(0)  # what is in memory is read without a turn of the loop
        await compacting
    await backend.aclose()


async def buckets(run: Run, lists: list[Any]) -> None:
    """Measure one bucket beside many with the same records, and what idle ones take."""
    from persisting.queue import PersistingBackend

    for number in (1, BUCKETS):
        paths = [str(run.path / f"{number}-{i}") for i in range(number)]
        backends = [PersistingBackend(i, path) for i, path in enumerate(paths)]
        name = f"put_batch(100), {number} bucket{'s' * (number > 1)}"
        with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
            turns = zip(itertools.cycle(backends), lists, strict=False)
            await one_by_one(laps, (backend.put_batch(records) for backend, records in turns))
        for backend in backends:
            await backend.aclose()
    before = resident()
    backends = [PersistingBackend(i, path) for i, path in enumerate(paths)]
    run.notes["MB for each idle bucket"] = (resident() - before) / BUCKETS
    for backend in backends:
        await backend.aclose()


async def persisting(run: Run) -> None:
    """Measure ours."""
    from persisting.queue import PersistingBackend

    await warm_up(lambda path: PersistingBackend(0, path), run.path)
    lists = batches(trajectories(run.sized(100_000, 10_000)), BATCH)
    await tail(run, lists[: len(lists) // 2])
    await compaction(run, lists[: run.sized(500, 50)])
    await buckets(run, lists)


BENCHMARK = Benchmark(
    "readers, compactions and many buckets at a time",
    {"persisting": Side(Environment.OURS, persisting)},
    rounds=3,
)
