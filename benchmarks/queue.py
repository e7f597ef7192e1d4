"""The queue itself: records put in batches and singly, streamed, and read at random.

20,000 records are put in batches of 100 with the options as they come, the backend is closed and
opened again, and everything is read back. The single puts go to a bucket of their own. `persisting`
0.3.0 has the same classes, so both sides run the same code. It rewrites its table at every flush:
see how much longer the last tenth of the batches takes than the first.
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, json_bytes, record_bytes, trajectories
from benchmarks.worker import one_by_one, warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.model import Run

BATCH = 100


async def stream(laps: list[float], pages: AsyncIterator[list[Any]], clock: Any) -> int:
    """Take pages of records, time each, and return how many records came."""
    count = 0
    started = clock()
    async for page in pages:
        ended = clock()
        laps.append(ended - started)
        count += len(page)
        started = clock()
    return count


async def work(run: Run) -> None:
    """Do what both sides do."""
    import time

    from persisting.queue import PersistingBackend

    count = run.sized(20_000, 4_000)
    records = trajectories(count)
    rng = random.Random(1)

    await warm_up(lambda path: PersistingBackend(0, path), run.path)
    backend = PersistingBackend(bucket_id=0, storage_path=str(run.path / "batched"))
    with run.measure("put_batch(100)", BATCH, put_bytes=record_bytes()) as laps:
        await one_by_one(laps, map(backend.put_batch, batches(records, BATCH)))
    tenth = len(laps) // 10
    slower = statistics.fmean(laps[-tenth:]) / statistics.fmean(laps[:tenth])
    run.notes["time of the last tenth of the batches over the first"] = slower

    with run.measure("get_stream, just put", BATCH) as laps:
        got = await stream(laps, backend.get_stream(count, 0), time.perf_counter)
    assert got == count
    await backend.flush()
    backend.close()
    run.note_disk(json_bytes(records))

    backend = PersistingBackend(bucket_id=0, storage_path=str(run.path / "batched"))
    assert backend.total_count() == count
    offsets = [rng.randrange(count) for _ in range(run.sized(1_000, 200))]
    with run.measure("get(1, random), reopened") as laps:
        await one_by_one(laps, (backend.get(1, offset) for offset in offsets))
    backend.close()

    backend = PersistingBackend(bucket_id=0, storage_path=str(run.path / "batched"))
    with run.measure("get_stream, reopened", BATCH) as laps:
        got = await stream(laps, backend.get_stream(count, 0), time.perf_counter)
    assert got == count
    backend.close()

    backend = PersistingBackend(bucket_id=0, storage_path=str(run.path / "single"))
    with run.measure("put", put_bytes=record_bytes()) as laps:
        await one_by_one(laps, map(backend.put, records))
    backend.close()


BENCHMARK = Benchmark(
    "20,000 records of 400 bytes through the backend, beside persisting 0.3.0",
    {
        "persisting": Side(Environment.OURS, work),
        "persisting 0.3.0": Side(Environment.PEERS, work),
    },
)
