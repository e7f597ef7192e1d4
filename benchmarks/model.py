"""The words of a benchmark: Benchmark, Side, Run (one side's turn) and Figure (one result)."""

from __future__ import annotations

import contextlib
import enum
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from typing import TypeAlias

    Work: TypeAlias = "Callable[[Run], Awaitable[None]]"

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Environment(enum.Enum):
    """The Python environment of a side."""

    OURS = "ours"
    PEERS = "peers"


@dataclass(frozen=True)
class Side:
    """One competitor: a function, and the environment that has its libraries."""

    environment: Environment
    work: Work


@dataclass(frozen=True)
class Benchmark:
    """Sides that do the same work.

    Attributes
    ----------
    title
        What is measured, in one line.
    sides
        By name, ours first; the others are compared with the first.
    ours
        How many of them are ours.
    rounds
        How often each side takes its turn.
    """

    title: str
    sides: dict[str, Side]
    ours: int = 1
    rounds: int = 5


@dataclass
class Figure:
    """One measured section.

    Attributes
    ----------
    name
        What was measured; the same name on two sides makes a ratio.
    unit
        What is counted: "records", "MB".
    rate
        Units per second.
    p50, p99
        Seconds of one call.
    cpu
        Seconds of processor time, of all threads and of a server that the side started.
    peak
        Most resident bytes while this was measured, with those of a server.
    written
        Bytes written to the disk per byte put, with those of a server; None where nothing is put.
    """

    name: str
    unit: str
    rate: float
    p50: float
    p99: float
    cpu: float
    peak: int
    written: float | None


@dataclass
class Run:
    """One side's turn: where it may write, what it measures, and what it found."""

    path: Path
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)
    servers: list[int] = field(default_factory=list)

    def sized(self, full: int, quick: int) -> int:
        """Return the size that suits the run."""
        return quick if self.quick else full

    @contextlib.contextmanager
    def measure(
        self,
        name: str,
        per_lap: float = 1,
        unit: str = "records",
        *,
        by_laps: bool = False,
        put_bytes: float = 0,
    ) -> Iterator[list[float]]:
        """Measure a block that appends the seconds of each call to the list it is given.

        Parameters
        ----------
        name
            Name of the figure.
        per_lap
            Units that one call moves.
        unit
            What is counted.
        by_laps
            Whether the rate is that of the calls, which come one at a time, and not that of the
            block.
        put_bytes
            Bytes that one unit puts.
        """
        laps: list[float] = []
        self.reset_peak()
        cpu, written, started = self._cpu(), self._written(), time.perf_counter()
        yield laps
        seconds = sum(laps) if by_laps else time.perf_counter() - started
        cpu, written = self._cpu() - cpu, self._written() - written
        units = len(laps) * per_lap
        figure = Figure(
            name=name,
            unit=unit,
            rate=units / seconds,
            p50=percentile(laps, 0.5),
            p99=percentile(laps, 0.99),
            cpu=cpu,
            peak=self.peak(),
            written=written / (units * put_bytes) if put_bytes else None,
        )
        self.figures.append(figure)

    def note_disk(self, put_bytes: float) -> None:
        """Note what is on disk now per byte put."""
        self.notes["bytes on disk per byte put"] = disk_bytes(self.path) / put_bytes

    def _cpu(self) -> float:
        own = resource.getrusage(resource.RUSAGE_SELF)
        return own.ru_utime + own.ru_stime + sum(map(_server_cpu, self.servers))

    def _written(self) -> int:
        return sum(map(_written_bytes, (os.getpid(), *self.servers)))

    def peak(self) -> int:
        """Return the most bytes that were resident since reset_peak, with those of servers."""
        return sum(_peak_bytes(process) for process in (os.getpid(), *self.servers))

    def reset_peak(self) -> None:
        """Forget how much was resident."""
        for process in (os.getpid(), *self.servers):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def percentile(laps: Iterable[float], part: float) -> float:
    """Return the value below which that part of the laps lies."""
    ordered = sorted(laps)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def disk_bytes(path: Path) -> int:
    """Return the bytes that the files below a directory take on disk."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def _written_bytes(process: int) -> int:
    """Return how much a process has caused to be written to disk."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def _server_cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def _peak_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
