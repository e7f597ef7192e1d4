"""Reads of a bucket with a million records, flushed, compacted and opened anew.

Random single records are read as dicts: "cold" ones for the first time, "hot" ones among the last
that were read. pylance takes the same rows, with to_pylist, from a table that it wrote in one go.
`to_pylist` is pyarrow's own conversion of the same rows in memory: nothing read from anywhere.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import trajectories
from benchmarks.worker import each, one_by_one

if TYPE_CHECKING:
    from benchmarks.model import Run

POOL = 10_000
MANY = 100
PAGE = 1_000

SINGLE_COLD = "get(1, random), cold"
SINGLE_HOT = "get(1, random), hot"
INDICES = f"get_by_indices({MANY} random)"
STREAM = "all as dicts, in pages"
ARROW = "all as Arrow"


def pool() -> Any:
    """Return a table of records, of which the bucket holds many copies."""
    import pyarrow as pa

    return pa.Table.from_pylist(trajectories(POOL))


def row_count(run: Run) -> int:
    """Return how many rows there are."""
    return run.sized(1_000_000, 50_000)


def choices(run: Run) -> tuple[list[int], list[int], list[list[int]]]:
    """Return offsets of cold records, of hot ones (a thousandth of all), and lists of offsets."""
    rng = random.Random(1)
    rows, count = row_count(run), run.sized(2_000, 200)
    cold = [rng.randrange(rows) for _ in range(count)]
    hot = rng.choices(cold[-PAGE:], k=10 * count)
    return cold, hot, [rng.sample(range(rows), MANY) for _ in range(count // 20)]


async def persisting(run: Run) -> None:
    """Measure ours."""
    from persisting.queue import PersistingBackend

    rows = row_count(run)
    cold, hot, lists = choices(run)
    backend = PersistingBackend(0, str(run.path), batch_size=PAGE)
    data = pool()
    for _ in range(rows // POOL):
        await backend.put_arrow(data)
    await backend.flush()
    await backend.compact()
    backend.close()
    backend = PersistingBackend(0, str(run.path), batch_size=PAGE)
    with run.measure(SINGLE_COLD) as laps:
        await one_by_one(laps, (backend.get(1, offset) for offset in cold))
    with run.measure(SINGLE_HOT) as laps:
        await one_by_one(laps, (backend.get(1, offset) for offset in hot))
    with run.measure(INDICES, MANY) as laps:
        await one_by_one(laps, map(backend.get_by_indices, lists))
    with run.measure(STREAM, PAGE) as laps:
        started = time.perf_counter()
        async for page in backend.get_stream(rows // 5, 0):
            assert len(page) == PAGE
            ended = time.perf_counter()
            laps.append(ended - started)
            started = ended
    with run.measure(ARROW, rows) as laps:
        await one_by_one(laps, [backend.get_arrow()])
    backend.close()


async def pylance(run: Run) -> None:
    """Measure pylance."""
    import lance

    rows = row_count(run)
    cold, hot, lists = choices(run)
    data = pool()
    path = str(run.path / "table")
    batches = data.to_batches() * (rows // POOL)
    lance.write_dataset(batches, path, schema=data.schema)
    table = lance.dataset(path)
    with run.measure(SINGLE_COLD) as laps:
        each(laps, lambda offset: table.take([offset]).to_pylist(), cold)
    with run.measure(SINGLE_HOT) as laps:
        each(laps, lambda offset: table.take([offset]).to_pylist(), hot[: len(cold)])
    with run.measure(INDICES, MANY) as laps:
        each(laps, lambda offsets: table.take(offsets).to_pylist(), lists)
    with run.measure(STREAM, PAGE) as laps:
        batches = table.to_batches(batch_size=PAGE, limit=rows // 5)
        started = time.perf_counter()
        for batch in batches:
            batch.to_pylist()
            ended = time.perf_counter()
            laps.append(ended - started)
            started = ended
    with run.measure(ARROW, rows) as laps:
        each(laps, lambda _: table.to_table(), [None])


async def to_pylist(run: Run) -> None:
    """Measure pyarrow's to_pylist."""
    data = pool()
    pages = [data.slice(at, PAGE) for at in range(0, POOL, PAGE)]
    with run.measure(STREAM, PAGE) as laps:
        for _ in range(row_count(run) // 5 // POOL):
            each(laps, lambda page: page.to_pylist(), pages)


BENCHMARK = Benchmark(
    "reads of a million records, beside pylance",
    {
        "persisting": Side(Environment.OURS, persisting),
        "pylance": Side(Environment.PEERS, pylance),
        "to_pylist": Side(Environment.PEERS, to_pylist),
    },
    rounds=3,
)
