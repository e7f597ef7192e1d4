"""Run one side of one benchmark in this process; the last line of the output is the result.

python -m benchmarks.worker BENCHMARK SIDE PATH full|quick
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.model import Run
from benchmarks.records import trajectories

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def one_by_one(laps: list[float], calls: Iterable[Awaitable[object]]) -> None:
    """Await the calls one after the other, and time each."""
    clock = time.perf_counter
    started = clock()
    for call in calls:
        await call
        ended = clock()
        laps.append(ended - started)
        started = ended


def each(laps: list[float], function: Callable[..., object], values: Iterable[object]) -> None:
    """Call a function with one value after the other, and time each call."""
    clock = time.perf_counter
    for value in values:
        started = clock()
        function(value)
        laps.append(clock() - started)


async def warm_up(make: Callable[[str], Any], directory: Path) -> None:
    """Use a backend once in a directory of its own, so that what is loaded late is loaded."""
    path = directory / "warm-up"
    backend = make(str(path))
    await backend.put({"number": 0})
    await backend.put_batch(trajectories(1_000))
    await backend.get(1, 0)
    await backend.flush()
    if hasattr(backend, "close"):
        backend.close()
    shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """Run the command line."""
    name, side, path, size = sys.argv[1:]
    benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    run = Run(Path(path), quick=size == "quick")
    asyncio.run(benchmark.sides[side].work(run))
    figures = [dataclasses.asdict(figure) for figure in run.figures]
    print(json.dumps({"figures": figures, "notes": run.notes}), flush=True)
    os._exit(0)  # the threads of Pulsing 0.1.2 crash an interpreter that shuts down beside them


if __name__ == "__main__":
    main()
