"""Filters over a million rows, with a B-tree index and without, and vectors, beside pylance.

A million rows of a shuffled unique key, a group of a thousand rows, a number and a text of 40
bytes, in Lance on both sides. "equality" asks for all columns of the row with one key, "range" for
those of 100 keys in a row, "group" counts the rows of one group. 100,000 vectors of 64 floats are
searched for their 10 nearest by way of an index of type ivf_pq. Both sides call from Python and get
Arrow tables; ours hands each call to a thread, so that the event loop stays free.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.model import Run

    Ask = Callable[[str], Awaitable[Any]]

DIMENSIONS = 64
KEYS_IN_RANGE = 100


def table(rows: int) -> Any:
    """Return the rows that are filtered."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(0)
    keys = rng.permutation(rows)
    return pa.table(
        {
            "key": keys,
            "group": rng.integers(0, rows // 1000, rows),
            "number": rng.standard_normal(rows),
            "text": [f"{key:040d}" for key in keys.tolist()],
        }
    )


def vectors(rows: int) -> Any:
    """Return the rows that are searched: vectors around a hundred centres."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(1)
    centres = rng.standard_normal((100, DIMENSIONS)) * 3
    near = centres[rng.integers(0, 100, rows)] + rng.standard_normal((rows, DIMENSIONS))
    column = pa.FixedSizeListArray.from_arrays(pa.array(near.astype("f4").ravel()), DIMENSIONS)
    return pa.table({"id": np.arange(rows), "vector": column})


async def filters(run: Run, rows: int, name: str, calls: int, find: Ask, count: Ask) -> None:
    """Measure the three filters."""
    import numpy as np

    rng = np.random.default_rng(2)
    clock = time.perf_counter
    for what, ask, unit, width in (
        ("equality", find, 1, 1),
        ("range", find, KEYS_IN_RANGE, KEYS_IN_RANGE),
        ("group", count, 1, 0),
    ):
        wheres = []
        for _ in range(calls + 3):
            start = int(rng.integers(0, rows - KEYS_IN_RANGE))
            if width == 0:
                wheres.append(f"`group` = {start % (rows // 1000)}")
            elif width == 1:
                wheres.append(f"key = {start}")
            else:
                wheres.append(f"key >= {start} AND key < {start + width}")
        for where in wheres[:3]:
            found = await ask(where)
            assert what == "group" or found.num_rows == unit, where
        with run.measure(f"{what}, {name}", 1, "queries") as laps:
            for where in wheres[3:]:
                started = clock()
                await ask(where)
                laps.append(clock() - started)


async def nearest(run: Run, data: Any, find: Callable[[Any], Awaitable[Any]]) -> None:
    """Measure searches for vectors that are in the data."""
    import numpy as np

    rng = np.random.default_rng(3)
    stored = data["vector"].combine_chunks().flatten().to_numpy().reshape(-1, DIMENSIONS)
    queries = stored[rng.integers(0, len(stored), run.sized(500, 50))]
    assert (await find(queries[0])).num_rows == 10
    with run.measure("10 nearest, ivf_pq", 1, "queries") as laps:
        for query in queries:
            started = time.perf_counter()
            await find(query)
            laps.append(time.perf_counter() - started)


async def persisting(run: Run) -> None:
    """Measure PersistingBackend."""
    from persisting.queue import PersistingBackend

    rows = run.sized(1_000_000, 100_000)
    async with PersistingBackend(0, str(run.path / "filters")) as backend:
        await backend.put_arrow(table(rows))
        await filters(run, rows, "no index", run.sized(30, 10), backend.query, backend.count)
        with run.measure("create_index, btree", rows, "rows") as laps:
            started = time.perf_counter()
            await backend.create_index("key", "btree")
            laps.append(time.perf_counter() - started)
        await backend.create_index("group", "btree")
        await filters(run, rows, "btree", run.sized(500, 50), backend.query, backend.count)
    data = vectors(run.sized(100_000, 10_000))
    async with PersistingBackend(0, str(run.path / "vectors")) as backend:
        await backend.put_arrow(data)
        await backend.create_index("vector", "ivf_pq", partitions=64, sub_vectors=16)

        async def find(query: Any) -> Any:
            return await backend.search(query, "vector", 10, nprobes=8, columns=["id"])

        await nearest(run, data, find)


async def pylance(run: Run) -> None:
    """Measure pylance."""
    import lance

    rows = run.sized(1_000_000, 100_000)
    dataset = lance.write_dataset(table(rows), str(run.path / "filters.lance"))

    async def query(where: str) -> Any:
        return dataset.to_table(filter=where)

    async def count(where: str) -> Any:
        return dataset.count_rows(where)

    await filters(run, rows, "no index", run.sized(30, 10), query, count)
    with run.measure("create_index, btree", rows, "rows") as laps:
        started = time.perf_counter()
        dataset.create_scalar_index("key", "BTREE")
        laps.append(time.perf_counter() - started)
    dataset.create_scalar_index("group", "BTREE")
    await filters(run, rows, "btree", run.sized(500, 50), query, count)
    data = vectors(run.sized(100_000, 10_000))
    stored = lance.write_dataset(data, str(run.path / "vectors.lance"))
    stored = stored.create_index("vector", "IVF_PQ", num_partitions=64, num_sub_vectors=16)

    async def find(query: Any) -> Any:
        wanted = {"column": "vector", "q": query, "k": 10, "nprobes": 8}
        return stored.to_table(columns=["id", "_distance"], nearest=wanted)

    await nearest(run, data, find)


BENCHMARK = Benchmark(
    "Filters over a million rows and searches for vectors, beside pylance",
    {
        "persisting": Side(Environment.OURS, persisting),
        "pylance": Side(Environment.PEERS, pylance),
    },
    rounds=3,
)
