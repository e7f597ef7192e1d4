"""How far a save is, told to whoever wants to know while it goes on."""

from __future__ import annotations

import concurrent.futures
import sys
from typing import TYPE_CHECKING, TypeVar

from persisting._engine.boundary import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[int, int], object]

R = TypeVar("R")

# Between two reports.
_LOOK_SECONDS = 0.1


def reported(run: Callable[[Progress], R], total: int, report: Report) -> R:
    """Call `run` in a thread, and `report` with the bytes that are done, and all, meanwhile.

    What `report` raises, or a signal, ends the call, and is raised once that has ended.
    """
    progress = Progress()
    with concurrent.futures.ThreadPoolExecutor(1, "persisting-progress") as pool:
        running = pool.submit(run, progress)
        try:
            while not concurrent.futures.wait([running], _LOOK_SECONDS).done:
                report(min(progress.done, total), total)
        except BaseException:
            progress.stop = 1
            raise
    result = running.result()
    report(total, total)
    return result


class Bar:
    """A line on a terminal that says how far something is.

    Parameters
    ----------
    name : str
        Of what is saved.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, done: int, total: int) -> None:
        """Write the line anew, and end it when all is done."""
        share = 100 * done // total if total else 100
        end = "\n" if done == total else ""
        line = f"\r{self._name}: {share:3} % of {total / 1e6:,.0f} MB{end}"
        print(line, end="", file=sys.stderr, flush=True)
