"""What it costs put_batch to count and to time, with enable_metrics against without.

Two buckets take turns of 20,000 records in batches of 100, one with metrics and one without. The
rows are flushed between the turns: that is in "CPU" and not in "time".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import turns
from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, trajectories
from benchmarks.worker import one_by_one, warm_up

if TYPE_CHECKING:
    from benchmarks.model import Run

BATCH = 100
TURN = 20_000


async def persisting(run: Run) -> None:
    """Put batches into a bucket with metrics and into one without, in turn."""
    from persisting.queue import PersistingBackend

    def make(path: str, **options: Any) -> PersistingBackend:
        return PersistingBackend(0, path, **turns.QUIET, **options)

    await warm_up(make, run.path)
    lists = batches(trajectories(TURN), BATCH)
    backends = {
        "without metrics": make(str(run.path / "without"), enable_metrics=False),
        "with metrics": make(str(run.path / "with"), enable_metrics=True),
    }

    def way(backend: PersistingBackend) -> turns.Way:
        async def puts(laps: list[float]) -> None:
            await one_by_one(laps, map(backend.put_batch, lists))

        return puts

    async def flush() -> None:
        for backend in backends.values():
            await backend.flush()

    ways = {name: way(backend) for name, backend in backends.items()}
    await turns.alternate(run, ways, run.sized(50, 10), BATCH, flush)
    for backend in backends.values():
        await backend.aclose()


BENCHMARK = Benchmark(
    "put_batch(100) with metrics and without",
    {"persisting": Side(Environment.OURS, persisting)},
)
