"""Growth: one bucket from nothing to ten million rows, in batches of 100.

Each figure is the part from a tenth of that many rows to that many: if the cost of a put does not
depend on what is already there, they are equal. CPU and memory count everything that runs in the
background meanwhile: flushes, compactions and clean-up. Then the bucket is closed and opened.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, json_bytes, trajectories
from benchmarks.worker import one_by_one

if TYPE_CHECKING:
    from benchmarks.model import Run

BATCH = 100
POOL = 10_000


async def persisting(run: Run) -> None:
    """Measure ours."""
    from persisting.queue import PersistingBackend

    rng = random.Random(1)
    records = trajectories(POOL)
    lists = itertools.cycle(batches(records, BATCH))
    put_bytes = json_bytes(records) / POOL
    rows = 0
    for goal in (1_000, 10_000, 100_000, 1_000_000, run.sized(10_000_000, 0)):
        if goal == 0:
            continue
        backend = PersistingBackend(0, str(run.path))
        name = f"put_batch(100) up to {goal:,}"
        with run.measure(name, BATCH, put_bytes=put_bytes) as laps:
            share = itertools.islice(lists, (goal - rows) // BATCH)
            await one_by_one(laps, map(backend.put_batch, share))
            await backend.flush()
        rows = goal
        figure = run.figures[-1]
        run.notes[f"CPU us per row up to {goal:,}"] = figure.cpu / len(laps) / BATCH * 1e6
        backend.close()
        run.note_disk(rows * put_bytes)
        with run.measure(f"open with {goal:,}", 1, "buckets") as laps:
            started = time.perf_counter()
            backend = PersistingBackend(0, str(run.path))
            laps.append(time.perf_counter() - started)
        assert backend.total_count() == rows
        offsets = [rng.randrange(rows) for _ in range(200)]
        with run.measure(f"get(1, random) of {goal:,}") as laps:
            await one_by_one(laps, (backend.get(1, offset) for offset in offsets))
        backend.close()


BENCHMARK = Benchmark(
    "one bucket from nothing to ten million rows",
    {"persisting": Side(Environment.OURS, persisting)},
    rounds=1,
)
