"""Arrow tables in and out: 64 MB of numeric columns, beside pylance.

A table is put into a new bucket and flushed, so that it is in Lance and on the disk; pylance's
files and directories are synced after its write, within the measured time. Then the bucket is
opened anew and read whole.
Each is done several times, every time in a new directory. "MB over the data" is the most resident
memory of the process, less the table (of put and flush) or two of them (of put, flush and get).
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from benchmarks.model import Run

COLUMNS = 8


def numbers(rows: int, seed: int) -> Any:
    """Return a table of eight columns of eight bytes: floats, counters and small integers."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"float{n}": rng.standard_normal(rows) for n in range(COLUMNS - 3)}
    columns["step"] = np.arange(rows)
    columns["action"] = rng.integers(0, 1_000, rows)
    columns["time"] = 1_700_000_000_000 + np.cumsum(rng.integers(0, 50, rows))
    return pa.table(columns)


async def work(
    run: Run,
    write: Callable[[Path, Any], Awaitable[float]],
    read: Callable[[Path], Awaitable[Any]],
) -> None:
    """Measure a pair of functions.

    The first puts a table on the disk and returns the seconds that took, the second reads it.
    """
    rows = run.sized(1_000_000, 125_000)
    repeats = run.sized(5, 2)
    megabytes = rows * COLUMNS * 8 / 1e6
    data = numbers(rows, seed=0)
    await write(run.path / "warm-up", data.slice(0, 1_000))
    shutil.rmtree(run.path / "warm-up")
    clock = time.perf_counter
    with run.measure("put and flush", megabytes, "MB", by_laps=True, put_bytes=1e6) as laps:
        for number in range(repeats):
            laps.append(await write(run.path / str(number), data))
    run.notes["MB over the data, put"] = run.figures[-1].peak / 1e6 - megabytes
    run.note_disk(megabytes * 1e6 * repeats)
    with run.measure("get", megabytes, "MB") as laps:
        for number in range(repeats):
            started = clock()
            table = await read(run.path / str(number))
            laps.append(clock() - started)
            if number == 0:
                assert table.equals(data)
            del table
    run.notes["MB over the data, get"] = run.figures[-1].peak / 1e6 - 2 * megabytes


async def ours(run: Run, backend_class: Callable[..., Any]) -> None:
    """Measure a backend of ours."""

    async def write(path: Path, data: Any) -> float:
        async with backend_class(0, str(path)) as backend:
            started = time.perf_counter()
            await backend.put_arrow(data)
            await backend.flush()
            return time.perf_counter() - started

    async def read(path: Path) -> Any:
        async with backend_class(0, str(path)) as backend:
            return await backend.get_arrow()

    await work(run, write, read)


async def lance_backend(run: Run) -> None:
    """Measure LanceBackend."""
    from persisting.queue import LanceBackend

    await ours(run, LanceBackend)


async def persisting_backend(run: Run) -> None:
    """Measure PersistingBackend, with its log."""
    from persisting.queue import PersistingBackend

    await ours(run, PersistingBackend)


async def pylance(run: Run) -> None:
    """Measure pylance."""
    import lance

    async def write(path: Path, data: Any) -> float:
        started = time.perf_counter()
        lance.write_dataset(data, str(path))
        for place in (path, *path.rglob("*")):
            file = os.open(place, os.O_RDONLY)
            os.fsync(file)
            os.close(file)
        return time.perf_counter() - started

    async def read(path: Path) -> Any:
        return lance.dataset(str(path)).to_table()

    await work(run, write, read)


BENCHMARK = Benchmark(
    "Arrow tables of 64 MB in and out, beside pylance",
    {
        "LanceBackend": Side(Environment.OURS, lance_backend),
        "PersistingBackend": Side(Environment.OURS, persisting_backend),
        "pylance + fsync": Side(Environment.PEERS, pylance),
    },
    ours=2,
)
