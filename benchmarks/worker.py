"""Run one side of one benchmark in this process; the last line of the output is the result.

python -m benchmarks.worker BENCHMARK SIDE PATH full|quick
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.model import Run

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


def main() -> None:
    """Run the command line."""
    name, side, path, size = sys.argv[1:]
    benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    run = Run(Path(path), quick=size == "quick")
    asyncio.run(benchmark.sides[side].work(run))
    figures = [dataclasses.asdict(figure) for figure in run.figures]
    print(json.dumps({"figures": figures, "notes": run.notes}))


if __name__ == "__main__":
    main()
