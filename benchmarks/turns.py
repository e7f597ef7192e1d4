"""Two ways to do the same, by turns in one process.

What else the machine does, and what the buckets do in the background, falls on both alike. The
difference of a few percent that they make would drown in that of two runs.
"""

from __future__ import annotations

import math
import resource
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.model import Figure, percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from benchmarks.model import Run

    Way: TypeAlias = "Callable[[list[float]], Awaitable[None]]"


# Of a backend: flushes and compactions wait until the turns are over.
QUIET: dict[str, Any] = {
    "flush_interval": 0,
    "flush_threshold": 1 << 20,
    "flush_bytes": 1 << 30,
    "compaction_threshold": 0,
}


@dataclass(frozen=True)
class Turn:
    """What one turn did.

    Attributes
    ----------
    laps
        Seconds of each call.
    records
        Of all calls.
    seconds
        Of the calls.
    cpu
        Seconds of processor time of this process, until what they left to do was done.
    """

    laps: list[float]
    records: int
    seconds: float
    cpu: float

    @property
    def seconds_each(self) -> float:
        """Seconds of a record."""
        return self.seconds / self.records

    @property
    def cpu_each(self) -> float:
        """Seconds of processor time of a record."""
        return self.cpu / self.records


async def take(way: Way, per_lap: int, settle: Callable[[], Awaitable[None]]) -> Turn:
    """Take a turn of a way, which appends the seconds of each of its calls to a list."""
    laps: list[float] = []
    cpu, started = cpu_seconds(), time.perf_counter()
    await way(laps)
    seconds = time.perf_counter() - started
    await settle()
    return Turn(laps, len(laps) * per_lap, seconds, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Return the processor time that this process has taken."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


async def alternate(
    run: Run,
    ways: Mapping[str, Way],
    pairs: int,
    per_lap: int,
    settle: Callable[[], Awaitable[None]],
) -> tuple[list[Turn], list[Turn]]:
    """Take turns, and add the figures of both ways and notes of what the second costs.

    Parameters
    ----------
    run
        What the figures and notes are added to.
    ways
        Two by name. Each takes a turn that does not count; which comes first changes with every
        pair of turns.
    pairs
        Turns of each.
    per_lap
        Records of one call.
    settle
        Does after each turn what it has left to do.

    Returns
    -------
    tuple
        The turns of both.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    run.reset_peak()
    for number in range(pairs + 1):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            turns[name].append(await take(ways[name], per_lap, settle))
    for name, taken in turns.items():
        del taken[0]
        laps = [lap for turn in taken for lap in turn.laps]
        run.figures.append(
            Figure(
                name=name,
                unit="records",
                rate=sum(turn.records for turn in taken) / sum(turn.seconds for turn in taken),
                p50=percentile(laps, 0.5),
                p99=percentile(laps, 0.99),
                cpu=sum(turn.cpu for turn in taken),
                peak=run.peak(),
                written=None,
            )
        )
    first, second = turns.values()
    _, name = ways
    both = list(zip(first, second, strict=True))
    for what, ratios in (
        ("time", [b.seconds_each / a.seconds_each for a, b in both]),
        ("CPU", [b.cpu_each / a.cpu_each for a, b in both]),
    ):
        low, median, high = (100 * (ratio - 1) for ratio in median_between(ratios))
        run.notes[f"more {what} per record, {name}, %"] = median
        run.notes[f"more {what} per record, {name}, %, at least"] = low
        run.notes[f"more {what} per record, {name}, %, at most"] = high
    return first, second


def median_between(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median with its bounds of 95 % confidence, which are two of the values."""
    ordered = sorted(values)
    reach = 0.98 * math.sqrt(len(ordered))
    low = max(0, math.floor((len(ordered) - 1) / 2 - reach))
    return ordered[low], statistics.median(ordered), ordered[len(ordered) - 1 - low]
